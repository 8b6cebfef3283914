# SPDX-License-Identifier: Apache-2.0
"""Sessions of the tiny policy, and what a first frame must look like."""

from __future__ import annotations

from test.tiny_policy import TinyPolicy, frames
from vla_infoentropy_ros.selection import SELECTORS, SelectionSettings, build_selector
from vla_infoentropy_ros.session import Session, SessionOptions

SMALL = SelectionSettings(  # patches are 4 x 4 pixels: no mean of them
    k1=2, k2=3, fresh_tokens=3, static_cap=10, reuse_from_layer=0, patch_block=1)
SECOND = 1_000_000_000
REUSING = [name for name in SELECTORS if build_selector(name).reuses]


def session_of(selector: str = "attention_drift", decode: str = "greedy", policy=None) -> Session:
    policy = policy or TinyPolicy()
    session = Session(policy, build_selector(selector, "linear", SMALL), SessionOptions(decode))
    session.set_instruction("pick up")
    return session


def started(**kwargs) -> Session:
    """A session that has reused in its last step."""
    session = session_of(**kwargs)
    for index, frame in enumerate(frames(3)):
        result = session.step([frame], stamp_ns=index * SECOND // 5)
    assert result.invalidated == "" and result.report.reused > 0
    return session


def first_result(frame):
    return session_of().step([frame])


def assert_same_as_first_frame(result, frame):
    fresh = first_result(frame)
    assert result.report.fresh == 16 and result.report.reused == 0
    assert result.action.token_ids == fresh.action.token_ids
    assert (result.report.ages == 0).all()
