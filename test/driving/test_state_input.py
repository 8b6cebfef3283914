# SPDX-License-Identifier: Apache-2.0
"""The robot's state on its way to a policy: order, age, frame, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from test.driving.rig import SECOND, Bench, picture
from test.nodes.policies import LOAD
from vla_infoentropy_ros.driving.robot_state import Pose
from vla_infoentropy_ros.driving.state_input import StateSettings
from vla_infoentropy_ros.knobs import SettingError

Make = Callable[..., Bench]
JOINTS = {"model": f"{LOAD}:with_state", "state__source": "joint_states", "state__joints": "a, b,c"}
POSE = {"model": f"{LOAD}:with_state", "state__source": "ee_pose"}
TURN = (math.cos(0.2), 0.0, 0.0, math.sin(0.2))  # 0.4 rad about z


def hear(rig: Bench, names: str = "cba", frame: str = "base_link") -> None:
    rig.driver.robot.hear_joints(list(names), [ord(n) - 96.0 for n in names], rig.clock.now_ns())
    pose = Pose(np.array([0.1, 0.2, 0.3]), TURN)
    rig.driver.robot.hear_pose(pose, frame, rig.clock.now_ns())


def test_joints_come_in_the_order_of_training_whatever_the_message_has(bench: Make) -> None:
    rig = bench(**JOINTS)
    hear(rig, "xcba")
    rig.look()
    assert rig.heard.steps[0].frame.state.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(("rotation", "size", "turn"), [
    ("axis_angle", 6, [0.0, 0.0, 0.4]), ("rpy", 6, [0.0, 0.0, 0.4]),
    ("quaternion_xyzw", 7, [0.0, 0.0, math.sin(0.2), math.cos(0.2)]),
])
def test_a_pose_is_written_as_training_had_it(
    bench: Make, rotation: str, size: int, turn: list[float]
) -> None:
    rig = bench(model=f"{LOAD}:with_state:{size + 1}", state__source="ee_pose", state__joints="a",
                state__rotation=rotation)
    hear(rig)
    rig.look()
    state = rig.heard.steps[0].frame.state
    np.testing.assert_allclose(state, [0.1, 0.2, 0.3, *turn, 1.0], atol=1e-12)


def test_an_axis_and_angle_beyond_half_a_turn_are_robosuites() -> None:
    robot = type("Robot", (), {"pose": lambda *_: Pose(np.zeros(3), (-0.5, 0.0, 0.0, 0.75**0.5))})
    state = StateSettings(source="ee_pose").read(robot(), 1.0)  # type: ignore[arg-type]
    np.testing.assert_allclose(state[3:], [0.0, 0.0, 2 * math.acos(-0.5)], atol=1e-12)


@pytest.mark.parametrize(("settings", "spoil", "says"), [
    (JOINTS, lambda rig: None, "joint_states never arrived"),
    (JOINTS, lambda rig: hear(rig, "ab"), "joint_states lacks c"),
    (JOINTS, lambda rig: (hear(rig), rig.clock.pass_s(0.6)), "a in joint_states is 0.60 s old"),
    (JOINTS, lambda rig: (hear(rig), rig.driver.robot.hear_joints(["b"], [math.nan], 0)),
     "joint_states cannot be used for b: nan"),
    (POSE | {"model": f"{LOAD}:with_state:6"}, lambda rig: None, "ee_pose never arrived"),
    (POSE | {"model": f"{LOAD}:with_state:6"}, lambda rig: hear(rig, frame="camera"),
     "ee_pose is in frame 'camera'"),
])
def test_without_a_state_of_now_there_is_no_action(
    bench: Make, settings: dict, spoil: Callable[[Bench], None], says: str
) -> None:
    rig = bench(**settings)
    spoil(rig)
    rig.look()
    assert not rig.heard.steps and rig.driver.intake.counters.frames_rejected == 1
    ((what, reason),) = rig.heard.rejections
    assert what == "image" and says in reason
    hear(rig)
    rig.clock.pass_s(0.01)
    rig.look()
    assert len(rig.heard.steps) == 1, rig.heard.rejections


def test_a_state_that_dies_stops_a_moving_robot(bench: Make) -> None:
    rig = bench(**JOINTS, command__hold_periods=10.0)
    hear(rig)
    rig.drive()
    rig.periods(40, look=True)
    fault = rig.driver.commander.interlock.fault
    assert fault is not None and fault.code == "stale_state" and not rig.arm.moving
    assert "a in joint_states" in fault.reason and "s old" in fault.reason


@pytest.mark.parametrize(("settings", "says"), [
    ({"model": f"{LOAD}:with_state"},
     "takes the robot's state, 3 numbers, and state.source is empty"),
    (JOINTS | {"state__joints": "a,b"}, "2 state.joints makes 2 numbers, the policy takes 3"),
    (POSE, "state.rotation=axis_angle makes 6 numbers, the policy takes 3"),
    (JOINTS | {"model": LOAD}, "the policy takes no robot state"),
    (JOINTS | {"state__joints": "a,b,a"}, "names a joint twice"),
    (JOINTS | {"state__joints": ""}, "needs state.joints"),
    (JOINTS | {"state__source": ""}, "state.source is empty"),
    (JOINTS | {"state__source": "odometry"}, "is not among"),
])
def test_a_state_that_does_not_fit_is_refused_before_a_frame(
    bench: Make, settings: dict, says: str
) -> None:
    with pytest.raises(SettingError, match=says):
        bench(**settings)


def test_three_cameras_make_one_observation(bench: Make) -> None:
    rig = bench(model=f"{LOAD}:three_views")
    rig.look()
    assert "no wrist_image has arrived" in rig.heard.rejections[-1][1]
    rig.driver.further_image("wrist_image", picture(1), rig.clock.now_ns())
    rig.clock.pass_s(0.01)
    rig.look()
    assert "no third_image has arrived" in rig.heard.rejections[-1][1]
    rig.driver.further_image("third_image", picture(2), rig.clock.now_ns() - SECOND)
    rig.clock.pass_s(0.01)
    rig.look()
    assert "newest third_image is 1.010 s apart" in rig.heard.rejections[-1][1]
    rig.driver.further_image("third_image", picture(2), rig.clock.now_ns())
    rig.clock.pass_s(0.01)
    rig.look()
    assert len(rig.heard.steps[0].frame.pictures) == 3
