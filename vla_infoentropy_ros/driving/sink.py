# SPDX-License-Identifier: Apache-2.0
"""What carries commands to a robot: the skin's end of driving, called by it and by nobody else."""

from __future__ import annotations

from typing import Protocol

from vla_infoentropy_ros.control.faults import Fault
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.aims import Target
from vla_infoentropy_ros.driving.sources import Crowd


class CommandSink(Protocol):
    """Open only while commands may be sent: a dry run beside a live controller cannot be mistaken
    for a second commander, and cannot command even by a bug."""

    def open(self, settings: CommandSettings) -> None:
        """Get ready to send what ``settings.output`` names; nothing where it is ready."""
        ...

    def close(self) -> None: ...

    def send(self, target: Target, stamp_ns: int) -> None:
        """Tell the arm; stamp_ns: ROS time. Nothing while closed."""
        ...

    def grip(self, opening: float, settings: CommandSettings) -> None:
        """Tell the gripper how far to open, 0 .. 1."""
        ...

    def forget_grip(self) -> None:
        """The robot has stopped: whatever the gripper is told next is new."""
        ...

    def fault(self) -> Fault | None:
        """Why what was opened cannot be commanded: the gripper, or what stands before the arm."""
        ...

    def rivals(self) -> Crowd | None:
        """Who else commands the same robot."""
        ...

    def unheard(self) -> str:
        """That nobody takes what is sent to the arm, and the remedy, one sentence; else ""."""
        ...

    def flush(self) -> None:
        """Wait until what was sent has arrived, for a sender that is about to go."""
        ...


class NoRobot:
    """There is nothing to be commanded: actions are decided, and that is all."""

    def open(self, settings: CommandSettings) -> None: ...
    def close(self) -> None: ...
    def send(self, target: Target, stamp_ns: int) -> None: ...
    def grip(self, opening: float, settings: CommandSettings) -> None: ...
    def forget_grip(self) -> None: ...
    def flush(self) -> None: ...

    def unheard(self) -> str:
        return ""

    def fault(self) -> Fault | None:
        return None

    def rivals(self) -> Crowd | None:
        return None
