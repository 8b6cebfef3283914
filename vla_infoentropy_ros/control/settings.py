# SPDX-License-Identifier: Apache-2.0
"""How the node may move a robot: the one table behind the ``command.*`` parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.knobs import SettingError, check_knobs, knob

OUTPUTS = ("twist", "pose", "trajectory")
SLOW_POLICY = ("stretch", "hold", "refuse")
_MORE_IS_WIDER = (
    "hold_periods", "deadline_s", "tolerated_misses", "camera_timeout_s", "max_observation_age_s",
    "max_clock_skew_s", "max_step_translation", "max_step_rotation", "max_linear_speed",
    "max_angular_speed", "max_linear_acceleration", "max_angular_acceleration", "workspace_high",
    "pose_timeout_s", "execute_actions",
)  # fmt: skip
INPUTS = (
    "image", "wrist_image", "third_image", "instruction", "ee_pose", "joint_states",
    "robot_description", "clock",
)  # fmt: skip
"""What a skin may listen to, by the names that `shared_inputs` takes."""
_ROS_NAME = re.compile(r"(~?/)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
_LESS_IS_WIDER = ("workspace_low", "limit_workspace", "exclusive")


@dataclass(frozen=True)
class CommandSettings:
    """Limits, rates and time-outs of the command side. Raises SettingError for a bad value."""

    dry_run: bool = knob(True, "true: decide and publish actions, but send nothing to the robot")
    output: str = knob(
        "twist",
        "how the arm is commanded: twist = velocity for MoveIt Servo (twist_command), pose = next "
        "end-effector pose (pose_command; needs ee_pose), trajectory = joint positions "
        "(joint_trajectory; needs joint_states and robot_description)",
        choices=OUTPUTS,
    )
    rate_hz: float = knob(
        30.0, "rate at which the newest command is repeated, Hz", low=20.0, high=50.0
    )
    hold_periods: float = knob(
        1.5,
        "how long a command is repeated without a newer one, in control periods of the policy, or "
        "in those that slow_policy makes of them; "
        "then zero, then silence",
        low=1.0,
        high=10.0,
    )
    slow_policy: str = knob(
        "stretch",
        "a policy whose actions come later than its control period (or its camera's, or by "
        "max_rate_hz): stretch = the motion of an action is spread over the time until the next, "
        "as long a way, slower, and no standing still; hold = at its speed until hold_periods "
        "end, up to so many times the way, then zero; refuse = it is not configured, by its step "
        "in the self-test. With execute_actions above 1 nothing is stretched",
        choices=SLOW_POLICY,
    )
    execute_actions: int = knob(
        1,
        "how many actions of a chunk are carried out before the next chunk takes over, which is "
        "computed meanwhile; 1: the newest chunk at once",
        low=1,
        high=64,
    )
    blend_chunks: float = knob(
        0.0,
        "how far the motions of a chunk are moved towards those that the chunk before had for the "
        "same time; 0: not at all",
        low=0.0,
        high=0.9,
    )
    deadline_s: float = knob(
        0.5, "longest time from the arrival of an image to its action, s", low=0.01, high=3600.0
    )
    tolerated_misses: int = knob(
        0,
        "deadline misses in a row that only fall back to zero; one more latches a fault",
        low=0,
        high=1000,
    )
    camera_timeout_s: float = knob(
        0.5,
        "longest time without a new image while the robot is being commanded, s",
        low=0.05,
        high=3600.0,
    )
    max_observation_age_s: float = knob(
        0.5, "oldest image an action may be based on, s (ROS time)", low=0.01, high=3600.0
    )
    max_way_unseen: float = knob(
        0.1,
        "how far the end effector may be commanded while a camera sends one picture again and "
        "again, the same to the last byte, for longer than camera_timeout_s, m (a radian counts "
        "0.1 m); 0: not watched, for a simulation whose cameras do not see the arm",
        low=0.0,
        high=10.0,
    )
    max_clock_skew_s: float = knob(
        0.05,
        "how far the stamp of an image, ee_pose or joint state may lie ahead of this node's clock, "
        "s: cameras stamp what has been, so as much as clocks of two hosts may differ",
        low=0.0,
        high=1.0,
    )
    max_step_translation: float = knob(
        0.08, "longest translation of one action, m", low=0.0, high=1.0
    )
    max_step_rotation: float = knob(0.35, "largest rotation of one action, rad", low=0.0, high=3.15)
    max_linear_speed: float = knob(0.5, "longest velocity, m/s", low=0.0, high=5.0)
    max_angular_speed: float = knob(1.75, "largest turning speed, rad/s", low=0.0, high=20.0)
    max_linear_acceleration: float = knob(
        5.0,
        "how fast a velocity may grow, m/s^2: at rate_hz from one velocity to the next, and per "
        "action; braking and a stop are immediate",
        low=0.0,
        high=100.0,
    )
    max_angular_acceleration: float = knob(
        17.5, "the same of a turning velocity, rad/s^2", low=0.0, high=500.0
    )
    limit_workspace: bool = knob(
        False, "true: keep the end effector inside workspace_low .. workspace_high; needs ee_pose"
    )
    workspace_low: tuple[float, ...] = knob(
        (-1.0, -1.0, 0.0), "lowest x, y, z of the end effector in base_frame, m", length=3
    )
    workspace_high: tuple[float, ...] = knob(
        (1.0, 1.0, 1.0), "highest x, y, z of the end effector in base_frame, m", length=3
    )
    pose_source: str = knob(
        "ee_pose",
        "where the end effector's pose comes from: ee_pose = the topic; tf = the transforms from "
        "base_frame to tool_frame on /tf and /tf_static, which drivers publish",
        choices=("ee_pose", "tf"),
    )
    pose_timeout_s: float = knob(
        0.5, "oldest pose or joint state that may be used, s", low=0.01, high=60.0
    )
    gripper_action: str = knob(
        "",
        "action server of the gripper, such as gripper_controller/gripper_cmd; empty: the topic "
        "gripper_command, 0 closed .. 1 open",
    )
    gripper_action_type: str = knob(
        "GripperCommand",
        "type of gripper_action in control_msgs/action: GripperCommand, or ParallelGripperCommand "
        "as parallel_gripper_action_controller and newer drivers serve it",
        choices=("GripperCommand", "ParallelGripperCommand"),
    )
    gripper_joint: str = knob(
        "", "ParallelGripperCommand: name of the finger joint; empty: none is given, there is one"
    )
    gripper_open_position: float = knob(
        0.04, "what gripper_action takes as open, m or rad", low=-10.0, high=10.0
    )
    gripper_closed_position: float = knob(
        0.0, "what gripper_action takes as closed, m or rad", low=-10.0, high=10.0
    )
    gripper_max_effort: float = knob(
        0.0, "largest effort of gripper_action, N or Nm; 0: as its controller decides",
        low=0.0, high=1000.0,
    )
    base_frame: str = knob("base_link", "TF name of the robot's base, for policies of frame base")
    tool_frame: str = knob(
        "tool0", "TF name of the end effector, for policies of frame end_effector"
    )
    servo: str = knob(
        "",
        "output twist: name of MoveIt Servo's node, such as /servo_node; it is asked whether it "
        "takes speed units, and switched to twists. Empty, or another output: it is not asked",
    )
    exclusive: bool = knob(True, "true: a second publisher on the command topic is a fault")
    shared_inputs: str = knob(
        "",
        "inputs that may have more than one publisher, separated by commas, of "
        f"{', '.join(INPUTS)}; of any other a second one is a fault",
    )

    def __post_init__(self) -> None:
        check_knobs(self, "command.")
        low, high = self.workspace_low, self.workspace_high
        if any(a >= b for a, b in zip(low, high, strict=True)):
            raise SettingError(
                f"command.workspace_low={list(low)} is not below command.workspace_high="
                f"{list(high)} on every axis; swap the two"
            )
        if self.gripper_action and self.gripper_open_position == self.gripper_closed_position:
            raise SettingError(
                f"command.gripper_open_position={self.gripper_open_position} is "
                "command.gripper_closed_position too: the gripper would never move; give what "
                "its action takes as open and as closed"
            )
        for name in ("base_frame", "tool_frame"):
            frame = getattr(self, name)
            if not frame or frame.startswith("/") or any(map(str.isspace, frame)):
                raise SettingError(
                    f"command.{name}={frame!r} is no name that tf2 takes: it must not be empty, "
                    "begin with / or hold blanks"
                )
        for name in ("servo", "gripper_action"):
            named = getattr(self, name)
            if named and (not _ROS_NAME.fullmatch(named) or "__" in named):
                raise SettingError(
                    f"command.{name}={shown(named)} is no name that ROS takes: letters, digits and "
                    "single _, no part beginning with a digit, / between them"
                )
        unknown = sorted(self.shared - set(INPUTS))
        if unknown:
            raise SettingError(
                f"command.shared_inputs={self.shared_inputs!r}: {unknown[0]!r} is not among "
                f"{', '.join(INPUTS)}"
            )

    def check_chunks(self, horizon: int, period_s: float) -> None:
        """Raise SettingError where a policy that decides ``horizon`` actions at a time, each for
        ``period_s``, cannot be carried out so."""
        count = self.execute_actions
        if count > horizon:
            raise SettingError(
                f"command.execute_actions={count}: this policy decides {horizon} action(s) at a "
                f"time; set it to at most {horizon}"
            )
        if count > 1 and count * period_s > self.max_observation_age_s:
            raise SettingError(
                f"command.execute_actions={count}: the last of these actions ends "
                f"{count * period_s:g} s after its image, more than command.max_observation_age_s="
                f"{self.max_observation_age_s} allows; lower the one or raise the other"
            )

    @property
    def asks_servo(self) -> bool:
        """MoveIt Servo takes the commands, and is asked how."""
        return bool(self.servo) and self.output == "twist"

    @property
    def shared(self) -> frozenset[str]:
        """The names in `shared_inputs`."""
        return frozenset(filter(None, (name.strip() for name in self.shared_inputs.split(","))))

    def wider_than(self, other: CommandSettings) -> list[str]:
        """Parameters by which these allow what the others did not; dry_run has its own rule.

        What is neither more nor less, such as another frame, is another permission too.
        """
        names = []
        for entry in fields(self):
            mine, theirs = getattr(self, entry.name), getattr(other, entry.name)
            if mine == theirs or entry.name == "dry_run":
                continue
            if entry.name in _MORE_IS_WIDER and _nowhere_more(mine, theirs):
                continue
            if entry.name in _LESS_IS_WIDER and _nowhere_more(theirs, mine):
                continue
            names.append(f"command.{entry.name}")
        return names


def _nowhere_more(one: Any, other: Any) -> bool:
    ones, others = (value if isinstance(value, tuple) else (value,) for value in (one, other))
    return all(a <= b for a, b in zip(ones, others, strict=True))
