# SPDX-License-Identifier: Apache-2.0
"""The embedded tabletop as a ROS node: camera out, velocity and gripper commands in."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from vla_infoentropy_ros.msg import EpisodeResult
from vla_infoentropy_ros.nodes.episodes import Episode, EpisodeEnd, Spin, hindrance
from vla_infoentropy_ros.nodes.messages import to_time
from vla_infoentropy_ros.nodes.parameters import at_start_only, declare_group
from vla_infoentropy_ros.nodes.policy_link import PolicyLink
from vla_infoentropy_ros.nodes.runtime import run
from vla_infoentropy_ros.nodes.sim_settings import SimSettings
from vla_infoentropy_ros.sim import Tabletop

_SLICE_S = 0.05


class SimNode(Node):
    """Runs episodes one at a time, in the thread that spins (the renderer belongs to it)."""

    def __init__(self, name: str = "sim_node", **options: Any) -> None:
        super().__init__(name, **options)
        self.settings = self._declare()
        self.add_on_set_parameters_callback(self._on_set)
        self.env = Tabletop(self.settings.image_size)
        self.link = self._make_link()
        self.clock_ns = 1_000_000_000
        self._remaining = self.settings.episodes
        self._seed = self.settings.seed
        self._requested = self._running = self._stop_episode = self._failed = False
        self.create_service(Trigger, "~/start_episode", self._on_start)
        self.create_service(Trigger, "~/stop_episode", self._on_stop)

    # What another robot at the tabletop does in its own way

    def _declare(self) -> SimSettings:
        """Declare the parameters."""
        return declare_group(self, SimSettings)

    def _make_link(self) -> PolicyLink:
        return PolicyLink(self, self.settings.policy)

    def _make_episode(self, spin: Spin) -> Episode:
        return Episode(
            self.env, self.link, self.settings, spin, lambda: self.get_clock().now().nanoseconds
        )

    def _idle(self, spin: Spin) -> None:
        """Between episodes: let callbacks run for a moment."""
        spin(lambda: self._requested, _SLICE_S)

    busy = False

    def start(self) -> None:
        """Nothing to be done before spinning."""

    def stop(self) -> None:
        """All that there is to be freed belongs to the loop."""

    def loop(self, executor: Executor, stopping: threading.Event) -> None:
        """Serve, and run the episodes that are asked for, until told to stop."""

        def spin(condition: Callable[[], Any], timeout_s: float) -> bool:
            give_up_s = time.monotonic() + timeout_s
            while not condition():
                left_s = give_up_s - time.monotonic()
                if left_s <= 0.0:
                    return False
                if stopping.is_set() or (self._running and self._stop_episode):
                    raise EpisodeEnd(EpisodeResult.STOPPED, "stopped by request")
                executor.spin_once(timeout_sec=min(left_s, _SLICE_S))
            return True

        try:
            while not stopping.is_set():
                if self._next_episode():
                    self._run_episode(spin)
                else:
                    with contextlib.suppress(EpisodeEnd):  # told to stop
                        self._idle(spin)
        finally:
            self.env.close()  # the renderer's context belongs to this thread

    def _next_episode(self) -> bool:
        if self._requested:
            self._requested, self._seed = False, self.settings.seed
            return True
        if self._remaining == 0 or self._is_held():
            return False
        self._remaining -= self._remaining > 0
        return True

    def _is_held(self) -> bool:
        """The last episode ended by what the policy still says: the next would, at once."""
        status = self.link.status
        return self._failed and status is not None and bool(hindrance(status))

    def _run_episode(self, spin: Spin) -> None:
        settings, env = self.settings, self.env
        self._running, self._stop_episode = True, False
        task = env.reset(self._seed)
        result = EpisodeResult(
            seed=self._seed, instruction=settings.instruction or task.instruction
        )
        self._seed += 1
        episode = self._make_episode(spin)
        episode.clock_ns = self.clock_ns
        began_s = time.monotonic()
        try:
            episode.prepare(result.instruction)
            began_s = time.monotonic()
            drive = episode.lockstep if settings.lockstep else episode.real_time
            result.success = drive(settings.max_steps or env.max_steps)
            result.reason = EpisodeResult.SUCCESS if result.success else EpisodeResult.STEP_LIMIT
            episode.finish()
        except EpisodeEnd as end:
            result.reason, result.detail = end.reason, end.detail
        self._running = False
        self.clock_ns = episode.clock_ns
        result.duration = time.monotonic() - began_s
        result.steps = episode.steps
        result.command_latency_ms = episode.command_latency_ms
        self._report(result)
        self._failed = result.reason == EpisodeResult.POLICY_FAULT
        if self._remaining and self._is_held():
            self.get_logger().warning("the next episode waits until the policy says otherwise")

    def _report(self, result: EpisodeResult) -> None:
        lockstep = self.settings.lockstep
        now_ns = self.clock_ns if lockstep else self.get_clock().now().nanoseconds
        result.header.stamp = to_time(now_ns)
        self.link.publish_result(result)
        self.get_logger().info(
            f"episode {result.seed} {result.instruction!r}: {result.reason} after {result.steps} "
            f"steps, {result.duration:.1f} s {result.detail}"
        )

    def _on_start(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = not (self._running or self._requested)
        if response.success:
            self._requested = True
            response.message = f"episode of seed {self.settings.seed} begins"
        else:
            response.message = "refused: an episode is running; wait for the topic episode"
        return response

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._stop_episode, self._remaining = True, 0
        response.success = self._running
        response.message = "the episode ends" if self._running else "no episode is running"
        return response

    def _on_set(self, changes: list[Parameter]) -> SetParametersResult:
        live = {entry.name for entry in fields(SimSettings)} - {"image_size", "policy", "episodes"}
        wanted = {change.name: change.value for change in changes if change.name in live}
        answer = at_start_only(changes, live)
        if not answer.successful:
            return answer
        try:
            self.settings = replace(self.settings, **wanted)
        except (ValueError, TypeError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        return answer


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of the executable ``sim_node``."""
    return run("sim_node", SimNode, args)
