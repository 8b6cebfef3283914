# SPDX-License-Identifier: Apache-2.0
"""An episode of the tabletop with an arm: its controller runs at its own period, in wall time.

In lockstep simulated time stands still while the policy thinks, and goes on as fast as the wall
clock after that: commands expire by their stamps, as on a robot, however slow the machine is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from std_srvs.srv import SetBool

from vla_infoentropy_ros.arms.arm import StandInArm
from vla_infoentropy_ros.msg import EpisodeResult
from vla_infoentropy_ros.nodes.episodes import Episode, EpisodeEnd, Spin
from vla_infoentropy_ros.nodes.messages import to_ns
from vla_infoentropy_ros.nodes.policy_link import PolicyLink
from vla_infoentropy_ros.nodes.sim_settings import SimSettings
from vla_infoentropy_ros.sim import Tabletop

_ENABLING_S = 0.2
_STANDING_S, _GOING_S = 0.3, 2.0
_LONGEST_TICK_S = 0.1


class ArmEpisode(Episode):
    """``problem`` is told why the arm does not move as it is commanded, whenever that is so."""

    def __init__(
        self,
        env: Tabletop,
        link: PolicyLink,
        settings: SimSettings,
        spin: Spin,
        now_ns: Callable[[], int],
        arm: StandInArm,
        problem: Callable[[str], None],
    ) -> None:
        super().__init__(env, link, settings, spin, now_ns)
        self._arm, self._problem = arm, problem
        self._tick_s = arm.servo.settings.publish_period

    def prepare(self, instruction: str) -> None:
        link = self._link
        self._wait_for(
            lambda: link.status is not None and not link.status.fault,
            "the policy node is not there, or a fault of it is latched: call its ~/clear_fault",
        )
        self._place()
        super().prepare(instruction)
        self._wait_for(
            lambda: link.status is not None and link.status.enabled,
            "nobody has enabled the policy: call its ~/enable",
        )

    def _place(self) -> None:
        """The arm to where the scene has it. To a policy that sends goals an arm that leaps is a
        driver's error: so it stands before, and has time in which it could have gone there."""
        state, by_goals = self._env.state, self._arm.output == "trajectory"
        if by_goals:
            self.finish()
            self.rest(_STANDING_S)
        self._arm.place(state.hand, state.yaw)
        if by_goals:
            self.rest(_GOING_S)

    def lockstep(self, limit: int) -> bool:
        env, link = self._env, self._link
        ticks = max(1, round(env.control_period / self._tick_s))
        while self.steps < limit:
            link.forget_commands()
            shown_s = self._show(self.clock_ns)
            stamp_ns = self.clock_ns
            self._wait_for_answer(lambda stamp_ns=stamp_ns: self._answered(stamp_ns))  # type: ignore[misc]
            self.command_latency_ms.append((time.monotonic() - shown_s) * 1e3)
            for _ in range(ticks):
                self.pass_time()
            self.steps += 1
            if env.success():
                return True
        return False

    def _answered(self, stamp_ns: int) -> bool:
        action = self._link.action
        return action is not None and to_ns(action.observation_stamp) == stamp_ns

    def pass_time(self) -> None:
        """One period of the controller, in simulated time that keeps step with the wall clock."""
        self._spin(lambda: False, self._tick_s)
        self.clock_ns += round(self._tick_s * 1e9)
        self._link.tell_time(self.clock_ns)
        self._tick(self.clock_ns, self._tick_s)

    def live(self) -> None:
        """One period of the controller, in either kind of time."""
        if self._settings.lockstep:
            self.pass_time()
        else:
            self._pass_wall_time()

    def _pass_wall_time(self) -> None:
        """One period, or as long as a busy machine makes of it: commands are heard in any case."""
        began_s = time.monotonic()
        self._spin(lambda: False, self._tick_s)
        self._tick(self._now_ns(), min(time.monotonic() - began_s, _LONGEST_TICK_S))

    def rest(self, seconds: float) -> None:
        """As long as that, in the time of the controller."""
        for _ in range(round(seconds / self._tick_s)):
            self.live()

    def look(self) -> None:
        """Show what the camera sees now."""
        self._show(self.clock_ns if self._settings.lockstep else self._now_ns())

    def real_time(self, limit: int) -> bool:
        env, settings = self._env, self._settings
        began_s = looked_s = checked_s = time.monotonic()
        self._link.forget_commands()
        while (now_s := time.monotonic()) - began_s < limit * env.control_period:
            if now_s - looked_s >= 1.0 / settings.camera_rate_hz:
                looked_s = now_s
                self._show(self._now_ns())
            self._pass_wall_time()
            self._check_policy()
            if now_s - checked_s > 1.0:
                checked_s = now_s
                self._check_connection()
            self.steps = round((now_s - began_s) / env.control_period)
            if env.success():
                return True
        return False

    def _tick(self, now_ns: int, period_s: float) -> None:
        arm = self._arm
        arm.advance(now_ns, period_s)
        position, yaw = arm.tip
        self._env.carry(position, yaw, self._link.opening, period_s)
        self._link.tell_pose(position, yaw, now_ns)
        if arm.problem:
            self._problem(arm.problem)

    def _wait_for(self, condition: Callable[[], Any], problem: str) -> None:
        """The arm lives on meanwhile: it can be commanded, and tells where it is."""
        give_up_s = time.monotonic() + self._settings.ready_timeout_s
        while not condition():
            self.live()
            if time.monotonic() > give_up_s:
                limit = f"ready_timeout_s={self._settings.ready_timeout_s}"
                raise EpisodeEnd(EpisodeResult.TIMEOUT, f"{problem} ({limit})")

    def _enable(self) -> None:
        """The policy refuses until it has come to terms with Servo."""
        give_up_s = time.monotonic() + self._settings.ready_timeout_s
        while True:
            answer = self._call(self._link.enable, SetBool.Request(data=True))
            if answer.success:
                return
            if time.monotonic() > give_up_s:
                raise EpisodeEnd(EpisodeResult.POLICY_FAULT, f"~/enable: {answer.message}")
            for _ in range(max(1, round(_ENABLING_S / self._tick_s))):
                self.live()
