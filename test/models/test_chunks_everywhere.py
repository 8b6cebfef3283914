# SPDX-License-Identifier: Apache-2.0
"""SmolVLA and pi0 in the core of the node, in replay and behind a server: by arguments alone."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from test.driving.rig import Arm, Heard
from test.models.tiny_pi0 import NAMED, write_transformers_pi0
from test.models.tiny_smolvla import STATE, write_tiny_smolvla
from vla_infoentropy_ros.driving.clock import SetClock
from vla_infoentropy_ros.driving.driver import Driver
from vla_infoentropy_ros.driving.images import RawPicture
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.driving.worker import Inline
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.replay.recording import (
    INSTRUCTION,
    JOINT_STATES,
    RAW,
    Event,
    joint_states,
    raw_image,
)
from vla_infoentropy_ros.replay.stepping import Replay
from vla_infoentropy_ros.serve.actions import ActionForm
from vla_infoentropy_ros.serve.metrics import Metrics
from vla_infoentropy_ros.serve.service import Service
from vla_infoentropy_ros.variants import Variant

WORDS = "pick up the red block"
PERIOD_NS = 200_000_000
JOINTS = [f"joint{i}" for i in range(STATE)]
SELECTION = {"selection.fresh_tokens": 6}


@pytest.fixture(scope="module", params=[write_tiny_smolvla, write_transformers_pi0])
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    written: Path = request.param(tmp_path_factory.mktemp("everywhere") / "tiny")
    return written


def settings(folder: Path) -> PolicyNodeSettings:
    """What `selector:=attention_drift model:=FOLDER` and a robot's file set."""
    loading = {name: value for name, value in asdict(NAMED).items() if value not in ("", 0.0)}
    return PolicyNodeSettings.from_values(loading | SELECTION | {
        "selector": "attention_drift", "model": str(folder), "instruction": WORDS,
        "self_test": "pick up the red block", "command.dry_run": False,
        "state.source": "joint_states", "state.joints": ",".join(JOINTS),
    })


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_in_the_core_that_the_node_drives(folder: Path) -> None:
    clock = SetClock(100 * PERIOD_NS)
    arm, heard = Arm(clock), Heard()
    driver = Driver(settings(folder), clock, arm, heard, Inline)
    driver.load()
    driver.activate()
    assert driver.enable(True)[0]
    for step in range(3):
        clock.pass_s(PERIOD_NS / 1e9)
        driver.robot.hear_joints(JOINTS, [0.1 * step] * STATE, clock.now_ns())
        for view, seed in (("wrist_image", 10 + step), ("image", step)):
            picture = RawPicture("rgb8", 64, 48, 192, pixels(seed).tobytes())
            if view == "image":
                driver.image(picture, clock.now_ns(), "top")
            else:
                driver.further_image(view, picture, clock.now_ns(), "wrist")
        driver.tick()
    assert not heard.faults and not heard.rejections
    fresh = [step.result.report.fresh for step in heard.steps]
    assert fresh[0] == 32 and fresh[1:] == [12] * (len(fresh) - 1) and len(fresh) >= 2
    assert arm.moving and heard.steps[-1].result.action.chunk.shape == (5, 7)
    driver.deactivate()
    driver.unload()


def test_in_replay_beside_the_dense_model(folder: Path) -> None:
    policy = load_policy(str(folder), NAMED, progress=False)
    variants = {str(v): v for v in map(Variant.parse, ("attention_drift", "dense"))}
    run = Replay(policy, variants, settings(folder))

    def events():  # type: ignore[no-untyped-def]
        yield Event(PERIOD_NS, INSTRUCTION, WORDS)
        for step in range(1, 4):
            now_ns = step * PERIOD_NS
            yield Event(now_ns, JOINT_STATES, joint_states(now_ns, JOINTS, [0.1] * STATE))
            yield Event(now_ns, RAW, raw_image(now_ns, "wrist", pixels(10)), 1)
            yield Event(now_ns, RAW, raw_image(now_ns, "top", pixels(0)), 0)

    moments = list(run.moments(events()))
    run.close()
    assert len(moments) == 3, run.account.figures()
    for moment in moments:  # a still picture: reuse changes nothing
        ours, theirs = (moment.steps[name].result.action.chunk for name in variants)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert moments[-1].steps["attention_drift"].result.report.reused == 20


def test_behind_a_server_that_is_sent_the_state(folder: Path) -> None:
    from vla_infoentropy_ros.serve.arrays import picture_of, state_of
    from vla_infoentropy_ros.serve.service import RequestError

    policy = load_policy(str(folder), NAMED, progress=False)
    selection = settings(folder).selection
    service = Service(
        policy, lambda: Variant.parse("attention_drift").session(policy, "linear", selection),
        ActionForm("policy", policy.convention), Metrics(),
    )
    sent = [
        {"__numpy__": base64.b64encode(pixels(seed).tobytes()).decode(), "dtype": "|u1",
         "shape": [48, 64, 3]} for seed in (0, 10)
    ]
    pictures = [picture_of(json.loads(json.dumps(each)), "image") for each in sent]
    with service.open() as client:
        first = client.act(pictures, WORDS, state=state_of([0.1] * STATE))
        numbers = {"__numpy__": base64.b64encode(np.full(STATE, 0.1).tobytes()).decode(),
                   "dtype": "<f8"}
        second = client.act(pictures, WORDS, state=state_of(numbers))
        assert (first.fresh, second.fresh) == (32, 12) and first.values.shape == (7,)
        for state, says in ((None, "needs the robot's state"), ([0.1] * 3, "trained with 8")):
            with pytest.raises(ValueError, match=says):
                client.act(pictures, WORDS, state=state_of(state))
    with pytest.raises(RequestError, match="send a list of numbers"):
        state_of(SimpleNamespace())
