# SPDX-License-Identifier: Apache-2.0
"""Settings of the simulator node."""

from __future__ import annotations

from dataclasses import dataclass

from vla_infoentropy_ros.knobs import check_knobs, knob


@dataclass(frozen=True)
class SimSettings:
    """Raises SettingError for a bad value."""

    seed: int = knob(
        1_000_000,
        "scene and task of the next episode; from 1000000 on never seen in training",
        low=0,
        high=2**62,
    )
    episodes: int = knob(
        0,
        "episodes to run at start-up, of seeds seed, seed + 1, ...; -1: without end; 0: none, "
        "wait for ~/start_episode",
        low=-1,
        high=1_000_000,
    )
    lockstep: bool = knob(
        True,
        "true: time stands still while the policy thinks (/clock; the policy needs use_sim_time); "
        "false: wall-clock time, a camera of camera_rate_hz",
    )
    instruction: str = knob(
        "", "what the policy is told instead of the task; success is judged by the task"
    )
    policy: str = knob("policy_node", "name of the policy node that is reset and enabled")
    enable_policy: bool = knob(
        True, "true: the simulator is the operator and closes the policy's interlock by ~/enable"
    )
    image_size: int = knob(224, "side of the square camera image, pixels", low=16, high=2048)
    camera_rate_hz: float = knob(30.0, "real time: camera images per second", low=1.0, high=120.0)
    command_timeout_s: float = knob(
        0.25, "real time: a twist older than this is zero, s", low=0.02, high=10.0
    )
    step_timeout_s: float = knob(
        30.0, "lockstep: longest wait for action and command of one frame, s", low=0.1, high=3600.0
    )
    ready_timeout_s: float = knob(
        120.0, "longest wait for the policy before an episode, s", low=0.1, high=3600.0
    )
    max_steps: int = knob(
        0, "control steps after which an episode ends; 0: the task's own limit", low=0, high=10_000
    )

    def __post_init__(self) -> None:
        check_knobs(self)
