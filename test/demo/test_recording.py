# SPDX-License-Identifier: Apache-2.0
"""Raw messages to pictures and bags, with the disorder that a graph allows."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from vla_infoentropy_ros.msg import TokenSelection

from test.replay.making import image_message, text_message
from vla_infoentropy_ros.demo.recording import Recording
from vla_infoentropy_ros.replay.types import RAW_IMAGE, STRING
from vla_infoentropy_ros.report.records import EpisodeRecord, StepRecord

SELECTION = "vla_infoentropy_ros/msg/TokenSelection"


def selection_message(step: int, stamp_s: int) -> bytes:
    """A selection over a grid of 2 x 3 tokens as CDR."""
    message = TokenSelection(step=step, rows=2, cols=3)
    message.header.stamp.sec = stamp_s
    return bytes(serialize_message(message))


def episode(*steps: int) -> EpisodeRecord:
    records = tuple(
        StepRecord(t=t, latency_ms=1.0, stages_ms={}, reasons=np.zeros(0, np.uint8)) for t in steps
    )
    return EpisodeRecord(selector="dense", seed=1, instruction="do it", success=True,
                         steps=len(steps), reason="success", records=records)


@pytest.mark.parametrize("namespace", ["", "/sim"])
def test_an_instruction_that_was_overtaken_comes_first(namespace: str) -> None:
    recording = Recording()
    recording.keep(f"{namespace}/image", RAW_IMAGE, image_message(1, 5), False)
    recording.keep(f"{namespace}/instruction", STRING, text_message("do it"), True)
    first, second = recording.messages
    assert (first.type_name, first.topic) == (STRING, f"{namespace}/instruction")
    assert first.received_ns == second.received_ns and first.latched


def test_nothing_recorded() -> None:
    assert Recording().messages == []
    assert Recording().shown(episode()).steps == ()


def test_steps_get_the_picture_that_they_saw() -> None:
    recording = Recording()
    for step, (stamp_s, value) in enumerate([(11, 50), (12, 60), (13, 70)]):
        if step != 1:  # lost on the way
            recording.keep("/sim/image", RAW_IMAGE, image_message(stamp_s, value), False)
        recording.keep("/sim/policy_node/selection", SELECTION,
                       selection_message(step, stamp_s), False)
    shown = recording.shown(episode(0, 1, 2))
    assert [step.record.t for step in shown.steps] == [0, 2]
    assert [int(step.image[0, 0, 0]) for step in shown.steps] == [50, 70]
    assert shown.grid == (2, 3) and shown.steps[0].image.shape == (4, 6, 3)
