# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a physical arm: Panda or UR5 behind what a driver puts before it, at the tabletop.

Run under the name servo_node it answers for MoveIt Servo: its topic, its service, its parameters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from moveit_msgs.srv import ServoCommandType

from vla_infoentropy_ros.arms.arm import StandInArm
from vla_infoentropy_ros.arms.models import ARMS
from vla_infoentropy_ros.nodes.arm_episodes import ArmEpisode
from vla_infoentropy_ros.nodes.arm_link import ArmLink
from vla_infoentropy_ros.nodes.arm_settings import arm_groups, arm_specs
from vla_infoentropy_ros.nodes.episodes import Spin
from vla_infoentropy_ros.nodes.gripper_server import serve_gripper
from vla_infoentropy_ros.nodes.parameters import declare_specs
from vla_infoentropy_ros.nodes.runtime import run
from vla_infoentropy_ros.nodes.sim_node import SimNode
from vla_infoentropy_ros.nodes.sim_settings import SimSettings


class ArmNode(SimNode):
    """Episodes as those of the simulator; between them the arm lives on, and can be commanded."""

    arm: StandInArm

    def __init__(self, **options: Any) -> None:
        super().__init__("arm_node", **options)
        self.create_service(
            ServoCommandType, "~/switch_command_type", self._on_switch_command_type
        )
        self.env.reset(self._seed)
        self.arm.place(self.env.state.hand)
        self._shown_s = 0.0

    def _declare(self) -> SimSettings:
        sim, arm, servo = arm_groups(declare_specs(self, arm_specs()))
        self.arm = StandInArm(ARMS[arm.arm], arm.controller, servo)
        self._gripper_type = arm.gripper_action_type
        return sim

    def _make_link(self) -> ArmLink:
        link = ArmLink(self, self.settings.policy, self.arm)
        serve_gripper(self, self._gripper_type, self.arm.model.gripper, link)
        return link

    def _make_episode(self, spin: Spin) -> ArmEpisode:
        return self._passing(spin)

    def _passing(self, spin: Spin) -> ArmEpisode:
        episode = ArmEpisode(
            self.env, self.link, self.settings, spin,
            lambda: self.get_clock().now().nanoseconds, self.arm, self._tell_problem,
        )  # fmt: skip
        episode.clock_ns = self.clock_ns
        return episode

    def _idle(self, spin: Spin) -> None:
        """The arm can be commanded, and its camera looks."""
        episode = self._passing(spin)
        if time.monotonic() - self._shown_s > 1.0 / self.settings.camera_rate_hz:
            self._shown_s = time.monotonic()
            episode.look()
        episode.live()
        self.clock_ns = episode.clock_ns

    def _tell_problem(self, reason: str) -> None:
        self.get_logger().warning(reason, throttle_duration_sec=1.0)

    def _on_switch_command_type(
        self, request: ServoCommandType.Request, response: ServoCommandType.Response
    ) -> ServoCommandType.Response:
        response.success = self.arm.servo.switch(request.command_type)
        return response


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of the executable ``arm_node``."""
    return run("arm_node", ArmNode, args)
