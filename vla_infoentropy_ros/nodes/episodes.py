# SPDX-License-Identifier: Apache-2.0
"""One episode of the simulator: prepare the policy, then frame and command in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from std_srvs.srv import SetBool, Trigger

from vla_infoentropy_ros.foreign.text import MESSAGE, printable
from vla_infoentropy_ros.msg import EpisodeResult, InferenceStatus
from vla_infoentropy_ros.nodes.messages import fault_text
from vla_infoentropy_ros.nodes.policy_link import PolicyLink
from vla_infoentropy_ros.nodes.sim_settings import SimSettings

_ACTIVE = (InferenceStatus.WAITING, InferenceStatus.RUNNING, InferenceStatus.FAULT)
_LOOK_AROUND_S = 0.5
_LISTEN_S = 0.005
"""In each period of a camera, however late the picture is: commands and status must be heard."""


class EpisodeEnd(Exception):
    """The episode is over before its time. reason: a constant of EpisodeResult."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, printable(detail, MESSAGE)  # the policy's own words


def hindrance(status: InferenceStatus) -> str:
    """Why no episode can be run with a policy that says this, or ""."""
    if fault := fault_text(status):
        return fault
    if status.state not in _ACTIVE:
        return "the policy node is no longer active"
    return "the policy is in dry run: set command.dry_run to false" if status.dry_run else ""


Spin = Callable[[Callable[[], Any], float], bool]
"""(condition, timeout_s): lets callbacks run until the condition holds; false on time-out; raises
EpisodeEnd when the episode shall stop."""


class Episode:
    """Drives one episode; ``clock_ns`` is the simulated time in lockstep, ``command_latency_ms``
    holds the time from each image to its command."""

    def __init__(
        self,
        env: Any,
        link: PolicyLink,
        settings: SimSettings,
        spin: Spin,
        now_ns: Callable[[], int],
    ) -> None:
        self._env, self._link, self._settings, self._spin = env, link, settings, spin
        self._now_ns = now_ns
        self.clock_ns = 0
        self.steps = 0
        self.command_latency_ms: list[float] = []

    def prepare(self, instruction: str) -> None:
        """Reset, enable and instruct the policy; raises EpisodeEnd if it does not come along."""
        link = self._link
        self._wait_for(
            lambda: link.status is not None and link.status.state in _ACTIVE,
            "the policy node is not active; see its log",
        )
        self._check_policy()
        self._call(link.reset, Trigger.Request())
        if self._settings.enable_policy and link.status is not None and not link.status.enabled:
            self._enable()
        link.instruct(instruction)
        self._wait_for(
            lambda: self._follows(instruction), "the policy did not take the instruction"
        )
        self._wait_for(link.connected, "no policy takes images and sends twist_command")

    def _enable(self) -> None:
        answer = self._call(self._link.enable, SetBool.Request(data=True))
        if not answer.success:
            raise EpisodeEnd(EpisodeResult.POLICY_FAULT, f"~/enable: {answer.message}")

    def finish(self) -> None:
        """Stop the policy's motion; a policy that is gone needs no stopping."""
        if self._link.reset.service_is_ready():
            self._call(self._link.reset, Trigger.Request())

    def lockstep(self, limit: int) -> bool:
        """Time stands still while the policy thinks. Returns success."""
        env, link = self._env, self._link
        period_ns = round(env.control_period * 1e9)
        while self.steps < limit:
            self.clock_ns += period_ns
            link.forget_commands()
            link.tell_time(self.clock_ns)
            shown_s = self._show(self.clock_ns)
            twist, opening = self._answer(self.clock_ns)
            self.command_latency_ms.append((time.monotonic() - shown_s) * 1e3)
            env.step_velocity(twist, opening, env.control_period)
            self.steps += 1
            if env.success():
                return True
        return False

    def real_time(self, limit: int) -> bool:
        """A camera at its rate and commands that expire, on the wall clock. Returns success."""
        env, settings = self._env, self._settings
        period_s = 1.0 / settings.camera_rate_hz
        began_s = time.monotonic()
        self._link.forget_commands()
        frames = 0
        while frames * period_s < limit * env.control_period:
            self._show(self._now_ns())
            frames += 1
            left_s = began_s + frames * period_s - time.monotonic()
            self._spin(lambda: False, max(left_s, _LISTEN_S))
            self._check_policy()
            if not frames % round(settings.camera_rate_hz):
                self._check_connection()
            twist = self._link.current_twist(settings.command_timeout_s)
            env.step_velocity(twist, self._link.opening, period_s)
            self.steps = math.ceil(frames * period_s / env.control_period)
            if env.success():
                return True
        return False

    def _show(self, stamp_ns: int) -> float:
        """Publish pose and picture; the monotonic time just before the picture went out."""
        state = self._env.state
        self._link.tell_pose(state.hand, state.yaw, stamp_ns)
        picture = self._env.render()
        now_s = time.monotonic()
        self._link.show(picture, stamp_ns)
        return now_s

    def _answer(self, stamp_ns: int) -> tuple[NDArray[np.float64], float]:
        link = self._link
        self._wait_for_answer(lambda: link.answer(stamp_ns) is not None)
        answer = link.answer(stamp_ns)
        assert answer is not None
        return answer

    def _wait_for_answer(self, answered: Callable[[], bool]) -> None:
        """Raises EpisodeEnd where the policy is gone, or takes too long."""
        link = self._link
        give_up_s = time.monotonic() + self._settings.step_timeout_s
        while not self._spin(answered, _LOOK_AROUND_S):
            self._check_policy()
            self._check_connection()
            if time.monotonic() > give_up_s:
                missing = "action" if link.action is None else "command of the arm or gripper"
                raise EpisodeEnd(
                    EpisodeResult.TIMEOUT,
                    f"no {missing} for the image of step {self.steps} within "
                    f"step_timeout_s={self._settings.step_timeout_s}",
                )

    def _check_connection(self) -> None:
        if not self._link.connected():
            raise EpisodeEnd(EpisodeResult.POLICY_FAULT, "the policy node has gone")

    def _check_policy(self) -> None:
        if self._link.status is not None and (problem := hindrance(self._link.status)):
            raise EpisodeEnd(EpisodeResult.POLICY_FAULT, problem)

    def _follows(self, instruction: str) -> bool:
        status = self._link.status
        if status is None:
            return False
        if not status.instruction and status.detail.startswith("instruction rejected"):
            raise EpisodeEnd(EpisodeResult.POLICY_FAULT, status.detail)
        return bool(status.instruction == instruction)

    def _wait_for(self, condition: Callable[[], Any], problem: str) -> None:
        give_up_s = time.monotonic() + self._settings.ready_timeout_s
        while not self._spin(condition, _LOOK_AROUND_S):
            if self._settings.lockstep:
                self._link.tell_time(self.clock_ns)
            if time.monotonic() > give_up_s:
                limit = f"ready_timeout_s={self._settings.ready_timeout_s}"
                raise EpisodeEnd(EpisodeResult.TIMEOUT, f"{problem} ({limit})")

    def _call(self, client: Any, request: Any) -> Any:
        self._wait_for(client.service_is_ready, f"no service {client.srv_name}")
        future = client.call_async(request)
        self._wait_for(future.done, f"no answer from {client.srv_name}")
        return future.result()
