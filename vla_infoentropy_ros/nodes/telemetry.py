# SPDX-License-Identifier: Apache-2.0
"""What the node tells about itself: action, selection, status, overlay, diagnostics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from vla_infoentropy_ros.driving.driver import Driver, State, Step
from vla_infoentropy_ros.driving.telling import action_values, selection_values, step_values
from vla_infoentropy_ros.foreign.text import printable
from vla_infoentropy_ros.msg import InferenceStatus, TokenSelection, VlaAction
from vla_infoentropy_ros.nodes.messages import fill, to_array, to_time
from vla_infoentropy_ros.nodes.qos import NEWEST, QUEUE, STATUS
from vla_infoentropy_ros.report.views import draw_overlay
from vla_infoentropy_ros.session import decoding

_STATES = {state: int(getattr(InferenceStatus, state.name)) for state in State}


class Telemetry:
    """Publishers that never move anything. `action` and `selection` run in the worker thread."""

    def __init__(self, node: Any, driver: Driver) -> None:
        self._driver = driver
        self._action = node.create_publisher(VlaAction, "action", QUEUE)
        self._selection = node.create_publisher(TokenSelection, "~/selection", QUEUE)
        self._overlay = node.create_publisher(Image, "~/overlay", NEWEST)
        self._status = node.create_publisher(InferenceStatus, "~/status", STATUS)

    def action(self, step: Step) -> None:
        """Publish the action that was just commanded; the rest after it, off the critical path."""
        runner, commander = self._driver.runner, self._driver.commander
        policy = runner.policy if runner is not None else None
        if policy is None or commander.aim is None:
            return
        message = fill(
            VlaAction(sequence=commander.counters.actions_issued - 1),
            action_values(step, policy.convention, commander.aim.frame_id),
        )
        self._action.publish(message)

    def selection(self, step: Step) -> None:
        """Publish which tokens a step recomputed, and its picture, where anyone listens."""
        runner, settings = self._driver.runner, self._driver.settings
        policy = runner.policy if runner is not None else None
        if policy is None:
            return
        frame, result = step.frame, step.result
        names = settings.node.selector, settings.node.schedule
        if self._selection.get_subscription_count():
            values = selection_values(frame, result, policy, names)
            self._selection.publish(fill(TokenSelection(), values))
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

    def status(self, step: Step | None = None, waiting: str = "") -> InferenceStatus:
        """Publish the state of the node, with the figures of ``step``, else of the last one.

        waiting: why what it waits for does not arrive, if that is known.
        """
        driver = self._driver
        step = step or driver.last
        message = InferenceStatus()
        with driver.commander.lock:
            self._fill_state(message)
        self._fill_policy(message)
        if message.state == InferenceStatus.WAITING and waiting:
            message.detail = waiting
        if step is not None:
            fill(message, step_values(step.result))
            message.image_to_command_ms = step.image_to_command_ms
        message.header.stamp = to_time(driver.clock.now_ns())
        self._status.publish(message)
        return message

    def _fill_state(self, message: InferenceStatus) -> None:
        driver, commander = self._driver, self._driver.commander
        for counters in (driver.intake.counters, commander.counters):
            for name, count in asdict(counters).items():
                setattr(message, name, count)
        message.deadline_misses = commander.watchdog.deadline_misses
        interlock = commander.interlock
        message.dry_run, message.enabled = interlock.dry_run, interlock.enabled
        if interlock.fault is not None:
            message.fault = True
            message.fault_code = interlock.fault.code
            message.fault_reason = interlock.fault.reason
        message.state = _STATES[driver.state]
        message.detail = driver.detail()

    def _fill_policy(self, message: InferenceStatus) -> None:
        settings = self._driver.settings
        message.selector, message.schedule = settings.node.selector, settings.node.schedule
        message.decode = settings.session.decode
        runner = self._driver.runner
        if runner is None or runner.policy is None:
            return
        policy = runner.policy
        message.decode = decoding(policy, settings.session)
        message.instruction = runner.instruction
        message.checkpoint, message.revision = printable(policy.name), printable(policy.revision)
        message.norm_key = printable(policy.norm_key)
        message.frame_convention = policy.convention.frame
        message.rotation_convention = policy.convention.rotation
        message.gripper_convention = policy.convention.gripper
