# SPDX-License-Identifier: Apache-2.0
"""MuJoCo tabletop: scene, tasks, expert, closed-loop episodes. Free of ROS and of torch."""

from vla_infoentropy_ros.sim.gl import RenderBackendError
from vla_infoentropy_ros.sim.rollout import EpisodeResult, rollout
from vla_infoentropy_ros.sim.tabletop import CONTROL_PERIOD, MAX_STEPS, Tabletop
from vla_infoentropy_ros.sim.tasks import EVALUATION_SEED, Goal, Task, parse_instruction

__all__ = [
    "CONTROL_PERIOD",
    "EVALUATION_SEED",
    "MAX_STEPS",
    "EpisodeResult",
    "Goal",
    "RenderBackendError",
    "Tabletop",
    "Task",
    "parse_instruction",
    "rollout",
]
