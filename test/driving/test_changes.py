# SPDX-License-Identifier: Apache-2.0
"""What was asked for is in force, or the arm stands: over deactivations and failures of others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from test.driving.rig import WORDS, Arm, Bench
from test.nodes import policies
from vla_infoentropy_ros.control.conventions import ConventionError
from vla_infoentropy_ros.driving import runner as running
from vla_infoentropy_ros.driving.worker import Worker
from vla_infoentropy_ros.selftest import run_selftest

BLIND = {"selector": "stale", "command.max_observation_age_s": 3600.0}
PATIENT = {"command.deadline_s": 60.0, "command.camera_timeout_s": 60.0}


def within(seconds: float, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.005)


def session(rig: Bench) -> Any:
    assert rig.driver.runner is not None
    return rig.driver.runner._session


def test_what_was_asked_for_before_a_deactivation_is_in_force_after_it() -> None:
    """A change waits for the step in progress, and the node is deactivated meanwhile."""
    drafts = {"session.decode": "window", "session.accept_bins": 4}
    rig = Bench(BLIND | PATIENT | drafts, make_worker=Worker)
    try:
        within(20, lambda: rig.driver.runner.instruction == WORDS)
        policies.SCRIPT.delay_s = 0.5
        rig.look()
        within(20, lambda: rig.driver.commander.watchdog.stepping)
        rig.change(selector="dense", session__accept_bins=0)
        rig.driver.deactivate()
        policies.SCRIPT.delay_s = 0.0
        rig.driver.activate()
        assert session(rig).selector.name == rig.driver.settings.node.selector == "dense"
        assert session(rig).options.accept_bins == 0
    finally:
        rig.close()


def test_of_many_instructions_during_a_step_the_newest_alone_is_taken_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Bench(PATIENT, make_worker=Worker)
    taken: list[str] = []
    tell = running.Session.set_instruction
    try:
        within(20, lambda: rig.driver.runner.instruction == WORDS)
        monkeypatch.setattr(
            running.Session, "set_instruction",
            lambda self, text: (taken.append(text), tell(self, text))[1])
        policies.SCRIPT.delay_s = 0.5
        rig.look()
        within(20, lambda: rig.driver.commander.watchdog.stepping)
        for number in range(100):
            rig.driver.instruction(f"pick up block {number}")
        within(20, lambda: rig.driver.runner.instruction == "pick up block 99")
        assert taken == ["pick up block 99"]
    finally:
        rig.close()


def test_a_worker_that_was_stopped_still_hears_requests() -> None:
    worker: Worker[int] = Worker(lambda job: None)
    worker.start()
    assert worker.stop(20)
    heard = threading.Event()
    worker.call(heard.set)
    assert heard.is_set()


def test_a_selector_that_cannot_be_had_is_one_fault_and_nothing_runs_by_the_old_one(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = bench()
    rig.drive()

    def no_memory(self: Any, selector: Any) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as failing:
        failing.setattr(running.Session, "set_selector", no_memory)
        rig.change(selector="dense")
    assert not rig.arm.moving
    fault, = rig.heard.faults
    assert (fault.code, fault.reason) == ("policy_exception", "RuntimeError: out of memory")
    assert not rig.driver.commander.counters.actions_dropped
    steps = len(rig.heard.steps)
    for _ in range(2):  # the arm is enabled once more, and the old selector not used for it
        rig.driver.commander.clear_fault()
        rig.driver.deactivate()
        rig.driver.activate()
        assert rig.driver.enable(True)[0]
        rig.periods(2, look=True)
        assert not rig.arm.moving and len(rig.heard.steps) == steps
        assert rig.heard.faults[-1].reason == "RuntimeError: out of memory"
    rig.driver.commander.clear_fault()
    rig.change(selector="info_entropy")
    rig.drive()
    assert session(rig).selector.name == "info_entropy"


def test_the_instruction_that_was_set_before_it_was_configured_is_followed(
    bench: Callable[..., Bench],
) -> None:
    rig = bench()
    rig.drive()
    rig.driver.deactivate()
    rig.driver.unload()
    rig.change(instruction="take it away")
    rig.driver.load()
    rig.driver.activate()
    rig.drive()
    assert rig.heard.steps[-1].instruction == "take it away"


def test_an_image_that_comes_as_the_robot_is_brought_to_rest_moves_it_no_more(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = bench()
    rig.drive()
    stop = rig.driver.commander.stop

    def stop_and_see(*given: Any) -> None:
        stop(*given)
        rig.clock.pass_s(0.01)
        rig.look()

    monkeypatch.setattr(rig.driver.commander, "stop", stop_and_see)
    rig.driver.rest()
    assert not rig.arm.moving


@pytest.mark.parametrize(("part", "value"), [("frame", "base_link"), ("rotation", "euler")])
def test_a_convention_that_is_none_is_refused_before_it_moves(part: str, value: str) -> None:
    policy = policies.ScriptedPolicy()
    policy.convention = replace(policy.convention, **{part: value})
    found = {check.name: check for check in run_selftest(policy).checks}
    assert not found["convention"].passed and repr(value) in found["convention"].reason


def test_a_frame_that_is_none_is_refused_without_a_self_test(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    convention = replace(policies.ScriptedPolicy.convention, frame="base_link")
    monkeypatch.setattr(policies.ScriptedPolicy, "convention", convention)
    with pytest.raises(ConventionError, match="'base_link' is not among base, end_effector"):
        bench()


@pytest.mark.parametrize("settings", [
    {"selector": "stale"},
    {"selector": "stale", "selection.keyframe_every": 1_000_000},
    {"selector": "attention_drift", "selection.fresh_tokens": 0},
    {"selector": "attention_drift", "schedule": "adaptive", "selection.coverage": 0.0,
     "selection.least_tokens": 0},
])
def test_a_robot_is_not_driven_by_what_nobody_looks_at(
    bench: Callable[..., Bench], settings: dict[str, Any]
) -> None:
    """The images are new, and the policy sees nothing of them."""
    rig = bench(**{name.replace(".", "__"): value for name, value in settings.items()})
    rig.drive()
    for seed in range(1, 40):
        rig.periods(1)
        rig.look(seed=seed)
    fault, = rig.heard.faults
    assert fault.code == "stale_observation" and not rig.arm.moving
    assert "recomputes no visual token" in fault.reason and "selection.*" in fault.reason


def test_the_oldest_picture_decides_the_age(bench: Callable[..., Bench]) -> None:
    rig = bench(model=f"{policies.LOAD}:two_views", sync_tolerance_s=10.0)
    rig.driver.further_image("wrist_image", pictured(), rig.clock.now_ns())
    rig.drive()
    for _ in range(40):
        rig.periods(1, look=True)
    fault, = rig.heard.faults
    assert fault.code == "stale_observation" and not rig.arm.moving


def pictured() -> Any:
    from test.driving.rig import picture

    return picture(3)


@pytest.mark.parametrize("late_s", [0.0, 0.1, 0.4])
def test_a_wall_is_kept_however_old_a_pose_may_be(
    bench: Callable[..., Bench], late_s: float
) -> None:
    """The hand goes as it is told, and is heard of later."""
    rig = bench(command__limit_workspace=True, command__workspace_high=(0.5, 1.0, 1.0),
                command__max_linear_speed=0.5, command__max_step_translation=0.2)
    policies.SCRIPT.values = (0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    hand, heard = [np.array([0.2, 0.0, 0.3])], rig.driver.robot
    period_s = 1.0 / rig.driver.settings.command.rate_hz
    enabled = False
    for turn in range(90):
        rig.clock.pass_s(period_s)
        twist = rig.arm.twists[-1][:3] if rig.arm.twists else np.zeros(3)
        hand.append(hand[-1] + twist * period_s)
        ago = min(round(late_s / period_s), len(hand) - 1)
        stamp_ns = rig.clock.now_ns() - round(ago * period_s * 1e9)
        heard.hear_pose(posed(hand[-1 - ago]), "base_link", stamp_ns)
        enabled = enabled or rig.driver.enable(True)[0]
        if turn % 5 == 0:
            rig.look(seed=turn)
        rig.driver.tick()
    assert not rig.heard.faults
    assert 0.45 < max(each[0] for each in hand) < 0.5 + 0.005


def posed(position: np.ndarray) -> Any:
    from vla_infoentropy_ros.driving.robot_state import Pose

    return Pose(position.copy(), (1.0, 0.0, 0.0, 0.0))


class Sags(Arm):
    """Goes where it is told within a turn, and hangs 4 mm below."""

    hand = np.array([0.3, 0.0, 0.3])

    def send(self, target: Any, stamp_ns: int) -> None:
        super().send(target, stamp_ns)
        self.hand = target.pose.position - np.array([0.0, 0.0, 0.004])


@pytest.mark.parametrize("motion", [0.0, -0.02])
def test_an_arm_that_sags_goes_no_lower_than_it_is_told(motion: float) -> None:
    floor = 0.25
    rig = Bench({"command.output": "pose", "command.limit_workspace": True,
                 "command.workspace_low": (-1.0, -1.0, floor)}, make_arm=Sags)
    try:
        policies.SCRIPT.values = (0.0, 0.0, motion, 0.0, 0.0, 0.0, 1.0)
        lowest = 1.0
        for turn in range(300):
            rig.clock.pass_s(1.0 / rig.driver.settings.command.rate_hz)
            rig.driver.robot.hear_pose(posed(rig.arm.hand), "base_link", rig.clock.now_ns())
            if not turn:
                assert rig.driver.enable(True)[0]
            if turn % 6 == 0:
                rig.look(seed=turn)
            rig.driver.tick()
            lowest = min(lowest, rig.arm.hand[2])
        assert not rig.heard.faults
        told = 0.3 if not motion else floor
        assert told - 0.0085 < lowest <= told
    finally:
        rig.close()
        policies.SCRIPT.values = policies.STEP
