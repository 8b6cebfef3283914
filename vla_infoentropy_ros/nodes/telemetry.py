# SPDX-License-Identifier: Apache-2.0
"""What the node tells about itself: action, selection, status, overlay, diagnostics."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from vla_infoentropy_ros.foreign.text import printable
from vla_infoentropy_ros.msg import InferenceStatus, TokenSelection, VlaAction
from vla_infoentropy_ros.nodes.commander import Commander, Issued
from vla_infoentropy_ros.nodes.inputs import Inputs
from vla_infoentropy_ros.nodes.messages import (
    fill_step,
    to_action,
    to_array,
    to_selection,
    to_time,
    to_twist,
)
from vla_infoentropy_ros.nodes.overlay import draw_overlay
from vla_infoentropy_ros.nodes.qos import NEWEST, QUEUE, STATUS
from vla_infoentropy_ros.nodes.runner import Frame, PolicyRunner
from vla_infoentropy_ros.nodes.settings import PolicyNodeSettings
from vla_infoentropy_ros.session import StepResult

Step = tuple[Frame, StepResult, float]
"""A policy step: what it saw, what came of it, ms from the image's arrival to the command."""


class Telemetry:
    """Publishers that never move anything. Step methods run in the worker thread."""

    def __init__(self, node: Any, commander: Commander) -> None:
        self._node, self._commander = node, commander
        self._action = node.create_publisher(VlaAction, "action", QUEUE)
        self._selection = node.create_publisher(TokenSelection, "~/selection", QUEUE)
        self._overlay = node.create_publisher(Image, "~/overlay", NEWEST)
        self._status = node.create_publisher(InferenceStatus, "~/status", STATUS)
        self._step: Step | None = None
        self._stepped_s = 0.0
        self.inputs: Inputs | None = None
        self.runner: PolicyRunner | None = None

    def forget(self) -> None:
        """A new episode or a new policy: no last step."""
        self._step = None

    def stepped(
        self, frame: Frame, result: StepResult, issued: Issued, stamp_ns: int, instruction: str
    ) -> Step:
        """Publish the action that was just commanded; the rest after it, off the critical path.

        The caller hands the step on to `selection` and `status`: whoever gets the action may call
        for a reset at once, and the step would be forgotten before it was told.
        """
        self._stepped_s = time.monotonic()
        step = self._step = frame, result, (self._stepped_s - frame.arrival_s) * 1e3
        policy = self.runner.policy if self.runner is not None else None
        if policy is None:
            return step
        message = to_action(
            frame,
            result,
            convention=policy.convention,
            frame_id=self._commander.output.frame_id,
            stamp_ns=stamp_ns,
            instruction=instruction,
        )
        message.sequence = self._commander.counters.actions_issued - 1
        message.command = to_twist(issued.command.twist)
        message.gripper_opening = float(issued.command.gripper or 0.0)
        message.limited = bool(issued.limited)
        message.dry_run = issued.dry_run
        self._action.publish(message)
        return step

    def selection(self, settings: PolicyNodeSettings, step: Step) -> None:
        """Publish which tokens a step recomputed, and its picture, where anyone listens."""
        policy = self.runner.policy if self.runner is not None else None
        if policy is None:
            return
        frame, result, _ = step
        names = settings.node.selector, settings.node.schedule
        if self._selection.get_subscription_count():
            self._selection.publish(to_selection(frame, result, policy.views, policy.grid, names))
        if self._overlay.get_subscription_count():
            picture = draw_overlay(result.image, result.report.reasons, policy.grid)
            height, width = picture.shape[:2]
            self._overlay.publish(
                Image(
                    header=Header(stamp=to_time(frame.stamp_ns), frame_id=frame.frame_id),
                    height=height,
                    width=width,
                    encoding="rgb8",
                    step=3 * width,
                    data=to_array(picture, "uint8"),
                )
            )

    def status(
        self, settings: PolicyNodeSettings, active: bool, step: Step | None = None
    ) -> InferenceStatus:
        """Publish the state of the node, with the figures of ``step``, else of the last one."""
        step = step or self._step
        message = InferenceStatus()
        with self._commander.lock:
            self._fill_state(message, active)
        self._fill_policy(message, settings)
        if step is not None:
            fill_step(message, step[1])
            message.image_to_command_ms = step[2]
        message.header.stamp = to_time(self._commander.output.now_ns())
        self._status.publish(message)
        return message

    def _fill_state(self, message: InferenceStatus, active: bool) -> None:
        commander, interlock = self._commander, self._commander.interlock
        for name, count in asdict(commander.counters).items():
            setattr(message, name, count)
        message.deadline_misses = commander.watchdog.deadline_misses
        message.dry_run, message.enabled = interlock.dry_run, interlock.enabled
        if interlock.fault is not None:
            message.fault = True
            message.fault_code = interlock.fault.code
            message.fault_reason = interlock.fault.reason
        message.state = self._state(active, message.fault)
        message.detail = self._detail(message)

    def _state(self, active: bool, fault: bool) -> int:
        if fault:
            return int(InferenceStatus.FAULT)
        if self.runner is None:
            return int(InferenceStatus.UNCONFIGURED)
        if not active:
            return int(InferenceStatus.INACTIVE)
        running = self._step is not None and self.runner.instruction and self._lately()
        return int(InferenceStatus.RUNNING if running else InferenceStatus.WAITING)

    def _lately(self) -> bool:
        """The last step is not longer ago than it could be without a fault."""
        settings = self._commander.settings
        gap_s = settings.camera_timeout_s + settings.deadline_s
        return time.monotonic() - self._stepped_s <= gap_s

    def _detail(self, message: InferenceStatus) -> str:
        runner = self.runner
        if message.state == InferenceStatus.UNCONFIGURED:
            return "no policy loaded: configure the node"
        if message.state == InferenceStatus.INACTIVE:
            return "not running: activate the node"
        if message.state == InferenceStatus.WAITING and runner is not None:
            if runner.rejected:
                return f"instruction rejected: {runner.rejected}"
            if not runner.instruction:
                problem = self.inputs.instruction_problem if self.inputs is not None else ""
                return problem or "waits for an instruction on the topic instruction"
            return "waits for an image"
        return str(self._commander.interlock.why_not())

    def _fill_policy(self, message: InferenceStatus, settings: PolicyNodeSettings) -> None:
        message.selector, message.schedule = settings.node.selector, settings.node.schedule
        message.decode = settings.session.decode
        runner = self.runner
        if runner is None or runner.policy is None:
            return
        policy = runner.policy
        message.instruction = runner.instruction
        message.checkpoint, message.revision = printable(policy.name), printable(policy.revision)
        message.norm_key = printable(policy.norm_key)
        message.frame_convention = policy.convention.frame
        message.rotation_convention = policy.convention.rotation
        message.gripper_convention = policy.convention.gripper
