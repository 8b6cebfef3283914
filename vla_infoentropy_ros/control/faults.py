# SPDX-License-Identifier: Apache-2.0
"""Faults that latch, and the interlocks that decide whether a robot may move."""

from __future__ import annotations

from dataclasses import dataclass

from vla_infoentropy_ros.foreign.text import MESSAGE, printable

CAMERA_SILENT = "camera_silent"
CAMERA_FROZEN = "camera_frozen"
STALE_OBSERVATION = "stale_observation"
STALE_STATE = "stale_state"
CLOCK_BACKWARDS = "clock_backwards"
DEADLINE = "deadline"
INVALID_ACTION = "invalid_action"
POLICY_EXCEPTION = "policy_exception"
WORKER_DIED = "worker_died"
TWO_COMMANDERS = "two_commanders"
TWO_SOURCES = "two_sources"
NO_SOLUTION = "no_solution"
GRIPPER = "gripper"
SERVO = "servo"
INVALID_PARAMETER = "invalid_parameter"

FAULT_CODES = {
    CAMERA_SILENT: "no image arrived for command.camera_timeout_s",
    CAMERA_FROZEN: "images arrive, but none that is new and usable for command.camera_timeout_s; "
                   "or the same picture again and again, while the hand is commanded",
    STALE_OBSERVATION: "an action was based on an image older than command.max_observation_age_s",
    STALE_STATE: "ee_pose or joint_states is missing, invalid or older than command.pose_timeout_s",
    CLOCK_BACKWARDS: "ROS time jumped backwards while the robot was being commanded",
    DEADLINE: "a policy step took longer than command.deadline_s",
    INVALID_ACTION: "the policy gave NaN, infinity, or a wrong number of values",
    POLICY_EXCEPTION: "the policy raised an error",
    WORKER_DIED: "the inference thread ended; deactivate and activate to start a new one",
    TWO_COMMANDERS: "another node publishes on the command topic as well",
    TWO_SOURCES: "an input has more than one publisher",
    NO_SOLUTION: "the arm cannot follow the action: singular or at a joint limit",
    GRIPPER: "the gripper's action server is not there, or rejected a goal",
    SERVO: "MoveIt Servo is not there, takes another unit or does not switch to twists",
    INVALID_PARAMETER: "somebody tried to change a parameter of a moving robot to a bad value",
}


@dataclass(frozen=True)
class Fault:
    """code: one of FAULT_CODES. reason: one sentence with the figures and the remedy."""

    code: str
    reason: str

    def __post_init__(self) -> None:
        if self.code not in FAULT_CODES:
            raise ValueError(f"fault code {self.code!r} is not among {', '.join(FAULT_CODES)}")
        object.__setattr__(self, "reason", printable(self.reason, MESSAGE))


class Interlock:
    """Whether the robot may move. Not thread-safe.

    Three things must hold: not a dry run, enabled by an operator, no fault. A fault also takes the
    enable away, so that motion needs two deliberate calls: clear, then enable.
    """

    def __init__(self, dry_run: bool = True) -> None:
        self._dry_run = dry_run
        self._enabled = False
        self._fault: Fault | None = None
        self._revoked = ""

    @property
    def dry_run(self) -> bool:
        """Whether nothing is sent. A change takes the enable away: it was given for the other."""
        return self._dry_run

    @dry_run.setter
    def dry_run(self, on: bool) -> None:
        if on != self._dry_run:
            self._dry_run, self._enabled = on, False

    @property
    def may_move(self) -> bool:
        return not self.dry_run and self._enabled and self._fault is None

    @property
    def enabled(self) -> bool:
        return self._enabled

    @property
    def fault(self) -> Fault | None:
        return self._fault

    def latch(self, fault: Fault) -> bool:
        """Latch a fault; the first one stays, as it is the cause. Returns whether it is new."""
        if self._fault is not None:
            return False
        self._fault = fault
        self._enabled = False
        return True

    def clear(self) -> str:
        """Clear the fault and say what is needed next."""
        if self._fault is None:
            return "no fault was latched"
        code, self._fault = self._fault.code, None
        return f"fault {code} cleared; call ~/enable with data: true to move again"

    def enable(self, on: bool) -> tuple[bool, str]:
        """Open or close the operator's interlock; refused while a fault is latched."""
        if not on:
            self._enabled = False
            return True, "disabled: the robot is not commanded"
        if self._fault is not None:
            return False, f"refused: fault {self._fault.code} is latched; call ~/clear_fault first"
        self._enabled, self._revoked = True, ""
        if self.dry_run:
            return True, "enabled for a dry run: nothing is sent while command.dry_run is true"
        return True, "enabled: the robot will move"

    def revoke(self, reason: str) -> None:
        """Take the enable away: it was given for something else. reason: half a sentence."""
        self._enabled, self._revoked = False, reason

    def why_not(self) -> str:
        """Why the robot is not commanded, one sentence; empty if it may move."""
        if self._fault is not None:
            return f"fault {self._fault.code}: {self._fault.reason}"
        if self.dry_run:
            return "dry run: command.dry_run is true"
        if self._enabled:
            return ""
        why = f" any more: {self._revoked}" if self._revoked else ""
        return f"not enabled{why}; call ~/enable with data: true"
