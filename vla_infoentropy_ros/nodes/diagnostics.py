# SPDX-License-Identifier: Apache-2.0
"""/diagnostics: camera, policy and commands, each with a level, a sentence and figures."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from vla_infoentropy_ros.driving.commander import Commander
from vla_infoentropy_ros.driving.driver import Driver
from vla_infoentropy_ros.driving.runner import PolicyRunner
from vla_infoentropy_ros.models.memory import device_memory
from vla_infoentropy_ros.msg import InferenceStatus
from vla_infoentropy_ros.nodes.messages import fault_text
from vla_infoentropy_ros.nodes.middleware import lost_frames_remedy, rmw_name
from vla_infoentropy_ros.nodes.qos import QUEUE

_OK, _WARN, _ERROR, _STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)
_MEMORY_WARNING = 0.95  # share of the GPU in use above which the next allocation may fail


class Diagnostics:
    """Publishes once per call of `publish`, which the node makes once per second."""

    def __init__(self, node: Any, hardware_id: str = "vla_infoentropy_ros") -> None:
        # With its namespace: the topic is shared by all robots and simulations.
        self._name, self._hardware_id = node.get_fully_qualified_name().strip("/"), hardware_id
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", QUEUE)
        self._remedy = lost_frames_remedy(rmw_name())
        self._last: tuple[float, InferenceStatus] | None = None
        self._lost: dict[str, int] = {}

    def publish(self, status: InferenceStatus, driver: Driver, problem: str) -> None:
        """status: newest. problem: why no image arrives, if that is known."""
        now_s = driver.clock.steady_s()
        array = DiagnosticArray(
            status=[
                self._camera(status, now_s, driver, problem),
                self._policy(status, driver.runner),
                self._commands(status, driver.commander),
            ]
        )
        array.header.stamp = status.header.stamp
        self._last = now_s, status
        self._publisher.publish(array)

    def _camera(
        self, status: InferenceStatus, now_s: float, driver: Driver, problem: str
    ) -> DiagnosticStatus:
        rate_hz, rejected, active = 0.0, 0, driver.active
        told, self._lost = self._lost, driver.intake.lost
        lost = {view: count - told.get(view, 0) for view, count in self._lost.items()}
        if self._last is not None and now_s > self._last[0]:
            then_s, before = self._last
            # Counters begin anew when the node is configured.
            rate_hz = max(0, status.frames_received - before.frames_received) / (now_s - then_s)
            rejected = max(0, status.frames_rejected - before.frames_rejected)
        level, text = _OK, "images arrive"
        if problem:
            level, text = _ERROR, problem
        elif rejected:
            level, text = _ERROR, f"{rejected} images rejected within the last second; see the log"
        elif missed := [f"{count} of {view}" for view, count in lost.items() if count > 0]:
            level, text = _WARN, (
                f"frames did not arrive, {', '.join(missed)}: {self._remedy}"
                "; where that is done, this machine is too busy to take them"
            )
        elif rate_hz == 0.0:
            level, text = _STALE if active else _OK, "no images within the last second"
        elif active and driver.camera_overdue:
            level, text = _STALE, "images arrive, but none that is new: see image_age_s and the log"
        return self._status(
            "camera",
            level,
            text,
            {
                "rate_hz": f"{rate_hz:.1f}",
                "image_age_s": f"{driver.intake.image_age_s:.3f}",
                "received": status.frames_received,
                "dropped": status.frames_dropped,
                "rejected": status.frames_rejected,
                **{f"{view}_lost": count for view, count in self._lost.items()},
            },
        )

    def _policy(self, status: InferenceStatus, runner: PolicyRunner | None) -> DiagnosticStatus:
        policy = runner.policy if runner is not None else None
        if runner is None or policy is None:
            return self._status("policy", _WARN, "no policy loaded", {})
        used, total = device_memory(policy)
        level, text = _OK, status.detail if status.state == InferenceStatus.WAITING else "ready"
        if runner.rejected:
            level, text = _WARN, f"instruction rejected: {runner.rejected}"
        elif total and used > _MEMORY_WARNING * total:
            level, text = _WARN, "GPU memory is nearly full: use a smaller dtype or fewer processes"
        return self._status(
            "policy",
            level,
            text,
            {
                "checkpoint": status.checkpoint,
                "revision": status.revision,
                "norm_key": status.norm_key,
                "step_ms": f"{runner.times.reusing:.1f}",
                "dense_step_ms": f"{runner.times.dense:.1f}",
                "selector": status.selector,
                "reuse_ratio": f"{status.reuse_ratio:.3f}",
                "latency_ms": f"{status.latency_ms:.1f}",
                "gpu_used_bytes": used,
                "gpu_total_bytes": total,
            },
        )

    def _commands(self, status: InferenceStatus, commander: Commander) -> DiagnosticStatus:
        level, text = _OK, "the robot may move"
        if status.fault:
            level, text = _ERROR, f"fault {fault_text(status)}"
        elif status.dry_run or not status.enabled:
            text = "dry run" if status.dry_run else "not enabled"
        elif status.deadline_misses:
            level, text = _WARN, f"{status.deadline_misses} deadline misses"
        if unheard := commander.unheard():
            level, text = _WARN, unheard
        if not status.fault and (slow := commander.slow()):
            level, text = _WARN, f"{text}; {slow}"
        return self._status(
            "commands",
            level,
            text,
            {
                "issued": status.actions_issued,
                "dropped": status.actions_dropped,
                "deadline_misses": status.deadline_misses,
                "image_to_command_ms": f"{status.image_to_command_ms:.1f}",
                "action_interval_ms": f"{commander.apart_s * 1e3:.1f}",
            },
        )

    def _status(
        self, part: str, level: bytes, text: str, figures: dict[str, object]
    ) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=level,
            name=f"{self._name}: {part}",
            message=text,
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=str(value)) for key, value in figures.items()],
        )
