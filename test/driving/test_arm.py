# SPDX-License-Identifier: Apache-2.0
"""An arm at the driver's end, by a clock that is set: what is wrong with it is one sentence, and it
stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from test.driving.rig import SECOND, Arm, Bench
from test.nodes import policies
from vla_infoentropy_ros.arms.arm import StandInArm
from vla_infoentropy_ros.arms.models import ARMS, ArmModel
from vla_infoentropy_ros.arms.servo import CommandType, TwistCommand
from vla_infoentropy_ros.arms.trajectory import Point
from vla_infoentropy_ros.control.conventions import matrix_quaternion
from vla_infoentropy_ros.control.resampling import Command, zero
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.aims import (
    AIMS,
    JointAim,
    JointPositions,
    PoseAim,
    Target,
    TwistAim,
    Velocity,
)
from vla_infoentropy_ros.driving.clock import SetClock
from vla_infoentropy_ros.driving.robot_state import Pose, RobotState
from vla_infoentropy_ros.driving.transforms import Transform

OVER_THE_TABLE = np.array([0.45, 0.05, 0.15])
PERIOD_S = 1.0 / 30.0
BACK = (-0.03, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
OUT = (0.03, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
ENDED_S = 0.6


class Behind(Arm):
    """A stand-in arm behind Servo or its trajectory controller, as a driver's robot."""

    def __init__(self, clock: SetClock, body: StandInArm) -> None:
        super().__init__(clock)
        self.body = body
        body.servo.switch(CommandType.TWIST)

    def send(self, target: Target, stamp_ns: int) -> None:
        super().send(target, stamp_ns)
        if isinstance(target, Velocity):
            self.body.servo.hear(TwistCommand(target.twist, target.frame_id, stamp_ns))
        if isinstance(target, JointPositions):
            point = Point(tuple(target.positions), round(target.duration_s * 1e9))
            self.body.follow(target.names, [point], 0, self._clock.now_ns())


class Scene:
    """Bench and arm; the arm's driver tells joints, transforms and description, unless silenced."""

    def __init__(self, name: str, output: str, values: dict[str, Any]) -> None:
        model = ARMS[name]
        self.body = StandInArm(model, output)
        self.body.place(OVER_THE_TABLE)
        self.silent = False
        frames = {"command.base_frame": model.base, "command.tool_frame": model.tip}
        given = {"command.output": output, "command.pose_source": "tf", **frames}
        self.bench = Bench(given | values, make_arm=lambda clock: Behind(clock, self.body))
        self.bench.driver.robot.hear_description(model.urdf)

    def live(self, seconds: float) -> None:
        """A period at a time: the arm moves and tells of itself, the camera looks at 5 Hz."""
        bench = self.bench
        for period in range(round(seconds / PERIOD_S)):
            bench.clock.pass_s(PERIOD_S)
            self.body.advance(bench.clock.now_ns(), PERIOD_S)
            if not self.silent:
                self.tell()
            if period % 6 == 0:
                bench.look()
            bench.driver.tick()

    def tell(self) -> None:
        robot, now_ns = self.bench.driver.robot, self.bench.clock.now_ns()
        model, arm = self.body.model, self.body
        robot.hear_joints(model.chain.names, arm.positions.tolist(), now_ns)
        turn, place = arm.frames()[model.tip]
        arrival_s = self.bench.clock.steady_s()
        rotation = matrix_quaternion(turn)
        robot.hear_transform(
            model.tip, Transform(model.base, rotation, place, now_ns, arrival_s)
        )

    def moves(self, action: tuple[float, ...]) -> None:
        policies.SCRIPT.values = action
        self.tell()
        assert self.bench.driver.enable(True)[0]
        before, _ = self.body.tip
        self.live(0.4)
        assert np.linalg.norm(self.body.tip[0] - before) > 0.01, self.bench.driver.detail()

    def stands(self) -> str:
        """It has stopped for a fault; its code and sentence."""
        fault = self.bench.driver.commander.interlock.fault
        assert fault is not None, "no fault"
        self.live(0.2)  # what it is given to stop
        standing = self.body.positions
        self.live(ENDED_S)
        np.testing.assert_array_equal(self.body.positions, standing)
        assert "\n" not in fault.reason and self.bench.heard.faults == [fault]
        return f"{fault.code}: {fault.reason}"


@pytest.fixture
def scene():
    made: list[Scene] = []

    def make(name: str, output: str, **values: Any) -> Scene:
        named = {key.replace("__", "."): value for key, value in values.items()}
        made.append(Scene(name, output, named))
        return made[-1]

    yield make
    for each in made:
        each.bench.close()
    policies.SCRIPT.values = policies.STEP


@pytest.mark.parametrize("output", ["twist", "trajectory"])
@pytest.mark.parametrize("name", ["panda", "ur5"])
def test_an_arm_moves_as_the_policy_says(scene, name, output) -> None:
    rig = scene(name, output, command__limit_workspace=True)
    rig.moves(OUT)
    before, _ = rig.body.tip
    rig.live(0.5)
    moved = rig.body.tip[0] - before
    assert moved[0] == pytest.approx(0.5 / 0.2 * OUT[0], rel=0.1), moved
    assert np.abs(moved[1:]).max() < 2e-3, moved


@pytest.mark.parametrize("output", ["twist", "trajectory"])
def test_a_driver_that_falls_silent(scene, output) -> None:
    """Its transforms grow old, or its joint states."""
    rig = scene("panda", output, command__limit_workspace=output == "twist")
    rig.moves(OUT)
    rig.silent = True
    rig.live(1.0)
    told = rig.stands()
    what = "the transform from panda_link0 to panda_hand_tcp in TF" if output == "twist" else (
        "in joint_states")  # fmt: skip
    assert told.startswith("stale_state: ") and f"{what} is" in told and "s old" in told


@pytest.mark.parametrize("disabled_s", [0.1, 0.3, None])
def test_a_stop_without_news_of_the_arm_does_not_take_it_back(
    scene, monkeypatch: pytest.MonkeyPatch, disabled_s: float | None
) -> None:
    rig = scene("panda", "trajectory")
    rig.moves(OUT)
    rig.silent, places, advance = True, [], rig.body.advance
    monkeypatch.setattr(
        rig.body, "advance", lambda *at: (advance(*at), places.append(rig.body.tip[0][0])))
    rig.live(disabled_s or 0.8)
    if disabled_s:
        rig.bench.driver.enable(False)
    else:
        assert rig.bench.heard.faults[0].code == "stale_state"
    rig.live(0.4)
    assert max(places) - places[-1] < 0.005, "more than braking takes"
    assert np.ptp(places[-5:]) < 1e-4, "it stands"


@pytest.mark.parametrize(("heard_s", "stops_m"), [(0.0, 0.0), (0.1, 0.01), (0.4, 0.02)])
def test_a_pose_to_stop_at_is_where_the_hand_was_sent_if_it_was_not_heard_since(
    heard_s: float, stops_m: float
) -> None:
    settings = CommandSettings(output="pose")
    clock = SetClock(10 * SECOND)
    state = RobotState(clock, settings)
    aim = PoseAim(state)
    aim.set_frame("base", settings)
    state.hear_pose(Pose(np.zeros(3), (1.0, 0.0, 0.0, 0.0)), "base_link", clock.now_ns())
    twist = np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0])
    begun_s = clock.steady_s()
    assert aim.plan(Command(twist, 1.0, 0.2), settings, begun_s) is None
    clock.pass_s(heard_s)
    for _ in range(3):
        target = aim.target(zero(), begun_s + heard_s)
        assert target.pose.position[0] == pytest.approx(stops_m)
        clock.pass_s(0.03)


def test_the_next_pose_goes_on_from_where_a_hand_was_sent_that_is_not_heard() -> None:
    settings, clock = CommandSettings(output="pose"), SetClock(10 * SECOND)
    state = RobotState(clock, settings)
    aim = PoseAim(state)
    aim.set_frame("base", settings)
    state.hear_pose(Pose(np.zeros(3), (1.0, 0.0, 0.0, 0.0)), "base_link", clock.now_ns())
    command = Command(np.array([0.4, 0.0, 0.0, 0.0, 0.0, 0.0]), 1.0, 0.2)
    clock.pass_s(0.01)
    for sent_m in (0.08, 0.16):
        assert aim.plan(command, settings, clock.steady_s()) is None
        assert aim.target(command, clock.steady_s()).pose.position[0] == pytest.approx(sent_m)
        clock.pass_s(0.2)


def panda(output: str) -> tuple[ArmModel, SetClock, CommandSettings, RobotState, TwistAim]:
    """An aim by itself, of an arm of which nothing is heard yet."""
    model, clock = ARMS["panda"], SetClock(10 * SECOND)
    settings = CommandSettings(output=output, base_frame=model.base, tool_frame=model.tip)
    state = RobotState(clock, settings)
    state.hear_description(model.urdf)
    aim = AIMS[output](state)
    aim.set_frame("base", settings)
    aim.prepare(settings)
    return model, clock, settings, state, aim


def hand_of(target: Target, model: ArmModel) -> np.ndarray:
    """Where a goal has the hand, (3,) m."""
    if isinstance(target, JointPositions):
        return model.chain.forward(target.positions)[1]
    return target.pose.position


@pytest.mark.parametrize("output", ["pose", "trajectory"])
def test_goals_do_not_run_away_from_an_arm_that_is_held_up_and_seldom_heard(output) -> None:
    """Heard ten times a second, 90 ms before each action: older than two turns of the timer."""
    model, clock, settings, state, aim = panda(output)
    held = np.array(model.ready)
    turn, place = model.chain.forward(held)
    command = Command(np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.0]), 1.0, 0.2)
    for _ in range(5):
        for age_s in (0.11, 0.09):
            state.hear_joints(model.chain.names, held.tolist(), clock.now_ns())
            state.hear_pose(Pose(place, matrix_quaternion(turn)), model.base, clock.now_ns())
            clock.pass_s(age_s)
        assert aim.plan(command, settings, clock.steady_s()) is None
        reached = hand_of(aim.target(command, clock.steady_s()), model)
        assert np.linalg.norm(reached - place) < 0.045


@pytest.mark.parametrize("output", ["pose", "trajectory"])
def test_an_arm_is_not_sent_to_where_it_cannot_have_gone(output) -> None:
    """A driver that restarts tells zeros for a moment, or another arm's joints are heard."""
    model, clock, settings, state, aim = panda(output)
    right = np.array(model.ready)
    wrong = right + np.array([1.0, *np.zeros(6)])
    _, place = model.chain.forward(right)
    command = Command(np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.0]), 1.0, 0.2)

    def hear(joints: np.ndarray, after_s: float) -> None:
        clock.pass_s(after_s)
        turn, place = model.chain.forward(joints)
        state.hear_joints(model.chain.names, joints.tolist(), clock.now_ns())
        state.hear_pose(Pose(place, matrix_quaternion(turn)), model.base, clock.now_ns())

    def sent(command: Command) -> float:
        reached = hand_of(aim.target(command, clock.steady_s()), model)
        return float(np.linalg.norm(reached - place))

    hear(right, 0.1)
    assert aim.plan(command, settings, clock.steady_s()) is None
    assert sent(command) < 0.045
    hear(wrong, 0.2)
    fault = aim.plan(command, settings, clock.steady_s())
    assert fault.code == "stale_state" and "200 ms before, further than it can go" in fault.reason
    for _ in range(4):
        assert sent(zero()) < 0.045, "nor is it stopped there"
        hear(wrong, 0.03)
    hear(right, 0.03)
    assert aim.plan(command, settings, clock.steady_s()) is None
    hear(wrong, 0.1)
    aim.forget()  # as when it is enabled: somebody has put it there
    assert sent(zero()) < 0.045, "the stop of the one before is not over"
    assert aim.plan(command, settings, clock.steady_s()) is None


@pytest.mark.parametrize("cause", ["action", "disable", "reset", "instruction", "enable"])
@pytest.mark.parametrize("every", [6, 45])
def test_joints_that_leap_end_in_an_arm_that_stands(scene, every: int, cause: str) -> None:
    """every: turns from one action to the next; however far it might have gone since the last."""
    slow = ("camera_timeout_s", "deadline_s", "max_observation_age_s")
    rig = scene("panda", "trajectory", **{f"command__{name}": 6.0 for name in slow})
    policies.SCRIPT.values = OUT
    rig.tell()
    driver = rig.bench.driver
    assert driver.enable(True)[0]

    def turns(count: int, wrong: bool = False) -> None:
        for turn in range(count):
            rig.bench.clock.pass_s(PERIOD_S)
            rig.body.advance(rig.bench.clock.now_ns(), PERIOD_S)
            rig.tell()
            if wrong:
                names, joints = rig.body.model.chain.names, rig.body.positions
                driver.robot.hear_joints(
                    names, [joints[0] + 1.0, *joints[1:]], rig.bench.clock.now_ns() + 1)
            if turn % every == 0:
                rig.bench.look()
            driver.tick()

    turns(3 * every)
    place, sent = rig.body.tip[0].copy(), len(rig.bench.arm.sent)
    assert place[0] - OVER_THE_TABLE[0] > 0.03, driver.detail()
    {"disable": lambda: driver.enable(False), "reset": driver.reset,
     "instruction": lambda: driver.instruction("something else"),
     "enable": lambda: driver.enable(True), "action": lambda: None}[cause]()
    turns(40, wrong=True)
    assert np.linalg.norm(rig.body.tip[0] - place) < 0.06
    joints = [target.positions[0] for _, target in rig.bench.arm.sent[sent:]]
    assert np.ptp(joints) < 0.2
    told = [fault.code for fault in rig.bench.heard.faults]
    assert told == ["stale_state"] * (cause != "disable"), driver.detail()


@pytest.mark.parametrize("rate", [1, 10])
def test_an_arm_whose_joints_two_drivers_tell_is_not_stopped(scene, rate: int) -> None:
    """One of them seldom."""
    rig = scene("panda", "trajectory")
    policies.SCRIPT.values = (0.0, 0.0, 0.0, 0.0, 0.0, 0.15, 1.0)
    rig.tell()
    assert rig.bench.driver.enable(True)[0]
    names, robot, clock = rig.body.model.chain.names, rig.bench.driver.robot, rig.bench.clock
    for turn in range(60):
        clock.pass_s(PERIOD_S)
        rig.body.advance(clock.now_ns(), PERIOD_S)
        joints = rig.body.positions.tolist()
        if turn % rate == 0:
            robot.hear_joints(names[:1], joints[:1], clock.now_ns())
        robot.hear_joints(names[1:], joints[1:], clock.now_ns())
        if turn % 6 == 0:
            rig.bench.look()
        rig.bench.driver.tick()
    assert not rig.bench.heard.faults and rig.bench.arm.sent


def test_joints_that_cannot_follow_do_not_leave_the_workspace() -> None:
    """A pose in which a motion along the floor takes the hand 1 cm through it."""
    model = ARMS["panda"]
    joints = np.array([-0.073, -0.743, -0.364, -0.516, -0.234, 1.416, -0.375])
    turn, place = model.chain.forward(joints)
    settings = CommandSettings(
        output="trajectory", base_frame=model.base, tool_frame=model.tip, limit_workspace=True,
        workspace_low=(-1.0, -1.0, float(place[2])), workspace_high=(1.0, 1.0, 1.2))
    clock = SetClock(10 * SECOND)
    state = RobotState(clock, settings)
    state.hear_description(model.urdf)
    aim = JointAim(state)
    aim.set_frame("base", settings)
    aim.prepare(settings)
    state.hear_joints(model.chain.names, joints.tolist(), clock.now_ns())
    state.hear_pose(Pose(place, matrix_quaternion(turn)), model.base, clock.now_ns())
    wanted = np.array([-0.1255, -0.0825, 0.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(aim.inside_workspace(wanted, settings, 0.3, 10.0), wanted)
    fault = aim.plan(Command(wanted, 1.0, 0.2), settings, 10.0)
    assert fault is not None and fault.code == "no_solution"
    assert "mm out of command.workspace_low" in fault.reason
    wide = replace(settings, limit_workspace=False)
    assert aim.plan(Command(wanted, 1.0, 0.2), wide, 10.0) is None


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        ({"command__base_frame": "world"}, "no way from 'panda_hand_tcp' up to 'world'"),
        ({"command__tool_frame": "tool0"}, "no way from 'tool0' up to 'panda_link0'"),
    ],
)
def test_frames_that_tf_does_not_have(scene, frames, told) -> None:
    rig = scene("panda", "twist", command__limit_workspace=True, **frames)
    rig.tell()
    assert rig.bench.driver.enable(True)[0]
    rig.live(0.1)
    assert told in rig.stands()
    assert not rig.bench.arm.moving, "never moved"


@pytest.mark.parametrize(
    ("name", "action", "told"),
    [
        ("panda", BACK, "joint panda_joint"),
        ("ur5", OUT, "singular pose"),
    ],
)
def test_a_joint_limit_or_a_singular_pose_on_the_way(scene, name, action, told) -> None:
    rig = scene(name, "trajectory")
    rig.moves(action)
    while rig.bench.clock.steady_s() < 8.0 and not rig.bench.heard.faults:
        rig.live(0.2)
    reason = rig.stands()
    assert reason.startswith("no_solution: ") and told in reason
    low, high = (np.array([getattr(joint, end) for joint in rig.body.model.chain.movable])
                 for end in ("lower", "upper"))  # fmt: skip
    assert np.all(rig.body.positions >= low) and np.all(rig.body.positions <= high)


def test_joints_without_a_description(scene) -> None:
    rig = scene("panda", "trajectory")
    rig.bench.driver.robot.hear_description("")
    rig.tell()
    assert rig.bench.driver.enable(True)[0]
    rig.live(0.1)
    assert "stale_state: robot_description never arrived" in rig.stands()


@pytest.mark.parametrize("description", ["<robot", "<robot name='other'/>"])
def test_a_bad_description_still_stops_the_arm(scene, description) -> None:
    """By the last one that could be read."""
    rig = scene("panda", "trajectory")
    rig.moves(OUT)
    rig.bench.driver.robot.hear_description(description)
    sent = len(rig.bench.arm.sent)
    rig.live(0.4)
    assert rig.stands().startswith("no_solution: ")
    targets = [target for _, target in rig.bench.arm.sent[sent:]]
    assert targets[-1].names == rig.body.model.chain.names
    rig.bench.driver.robot.hear_description(rig.body.model.urdf)
    rig.bench.driver.commander.clear_fault()
    rig.moves(OUT)


def test_a_goal_goes_to_the_joints_it_was_reckoned_for(scene) -> None:
    """Another description comes between a goal and its repetition."""
    rig = scene("panda", "trajectory")
    rig.moves(OUT)
    commander, urdf = rig.bench.driver.commander, rig.body.model.urdf
    before = rig.bench.arm.sent[-1][1]
    rig.bench.driver.robot.hear_description(
        urdf.replace("panda_joint1", "x").replace("panda_joint2", "panda_joint1").replace(
            '"x"', '"panda_joint2"'))
    commander.prepare()
    rig.bench.clock.pass_s(0.001)
    rig.bench.driver.tick()
    after = rig.bench.arm.sent[-1][1]
    assert after.names == before.names
    np.testing.assert_array_equal(after.positions, before.positions)
