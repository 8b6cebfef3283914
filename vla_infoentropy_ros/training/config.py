# SPDX-License-Identifier: Apache-2.0
"""The recipe: seeds, stages, and what the policy is told about its robot."""

from __future__ import annotations

from dataclasses import dataclass, field

from vla_infoentropy_ros.models.embedded import Architecture, PolicyConfig
from vla_infoentropy_ros.sim.expert import MAX_STEP, MAX_TURN
from vla_infoentropy_ros.sim.scene import CUBE_COLOURS, PLATE_COLOURS, Camera
from vla_infoentropy_ros.sim.tabletop import CONTROL_PERIOD

NORM_KEY = "tabletop"


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    ``keep``: visual tokens that the decoder sees (0: no decoder, vision losses only);
    ``collect``: pictures gathered before it, by expert or (``dagger``) by the learner too;
    ``goals``: instructions per picture, at most six;
    ``rate``: learning rate, falling linearly from the first to the second value.
    """

    name: str
    steps: int
    batch: int
    keep: int
    rate: tuple[float, float]
    collect: int = 0
    dagger: bool = False
    goals: int = 6
    sigma_bins: float = 3.0
    grounding: float = 1.0
    check_episodes: int = 0

    def __post_init__(self) -> None:
        bad_sizes = self.steps < 1 or self.batch < 1 or not 0 <= self.keep <= 256
        if bad_sizes or not 1 <= self.goals <= 6:
            raise ValueError(
                f"stage {self.name!r}: steps = {self.steps} and batch = {self.batch} must be >= 1, "
                f"keep = {self.keep} must lie in [0, 256], goals = {self.goals} in [1, 6]"
            )


@dataclass(frozen=True)
class Recipe:
    """Everything that a run from scratch depends on."""

    stages: tuple[Stage, ...]
    revision: str
    seed: int = 7
    weight_decay: float = 0.02
    warmup_steps: int = 100
    average: float = 0.998
    capacity: int = 48_000
    workers: int = 2
    threads: int = 2
    architecture: Architecture = field(default_factory=Architecture)
    camera: Camera = field(default_factory=Camera)

    def policy_config(self) -> PolicyConfig:
        """The ``policy.json`` of a policy trained by this recipe."""
        words = ("put", "the", "cube", "on", "plate", *CUBE_COLOURS, *PLATE_COLOURS)
        high = [MAX_STEP] * 3 + [MAX_TURN] * 3 + [1.0]
        low = [-MAX_STEP] * 3 + [-MAX_TURN] * 3 + [0.0]
        return PolicyConfig(
            revision=self.revision,
            architecture=self.architecture,
            words=words,
            norm_stats={NORM_KEY: {"action": {"q01": low, "q99": high, "mask": [True] * 7}}},
            norm_key=NORM_KEY,
            camera={
                "name": "front",
                "position_m": list(self.camera.position),
                "target_m": list(self.camera.target),
                "fovy_deg": self.camera.fovy,
                "frame": "robot base: x forward, y left, z up, origin on the table",
            },
            control_period_s=CONTROL_PERIOD,
        )


def default_recipe() -> Recipe:
    """The run that made the shipped weights."""
    return Recipe(
        revision="tabletop-1",
        stages=(
            Stage("vision", 600, 48, 0, (1.5e-3, 1.5e-3), collect=14_000),
            Stage("foreground", 1400, 32, 64, (1.0e-3, 1.0e-3), goals=3),
            Stage("all-tokens", 250, 16, 256, (7e-4, 7e-4), check_episodes=20),
            Stage("dagger-1", 1000, 32, 64, (9e-4, 7e-4), collect=8000, dagger=True, goals=3,
                  check_episodes=20),
            Stage("dagger-2", 800, 32, 80, (6e-4, 2e-4), collect=6000, dagger=True, goals=3,
                  sigma_bins=2.5, grounding=0.5, check_episodes=40),
            Stage("settle", 500, 16, 256, (2e-4, 1e-5), collect=5000, dagger=True,
                  sigma_bins=2.0, grounding=0.5, check_episodes=40),
        ),
    )
