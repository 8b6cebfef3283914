# SPDX-License-Identifier: Apache-2.0
"""What a policy for LIBERO is, and how it is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from vla_infoentropy_ros.knobs import check_knobs, knob
from vla_infoentropy_ros.libero.suites import INSTRUCTIONS
from vla_infoentropy_ros.libero.world import CAMERA
from vla_infoentropy_ros.models.conventions import OSC_POSE_SCALE
from vla_infoentropy_ros.models.embedded import Architecture, PolicyConfig

NORM_KEY = "libero"
CONTROL_PERIOD_S = 0.05


ARCHITECTURE = Architecture(
    stem_width=64, vision_width=256, vision_blocks=4, vision_heads=4, vision_ff=768,
    projector_width=512, width=256, layers=4, heads=4, ff=704,
)
"""6.5 million parameters: a scene of LIBERO holds more than the tabletop, and finer things."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on besides the pictures. Raises SettingError."""

    steps: int = knob(30_000, "updates", low=1, high=10_000_000)
    seconds: float = knob(0.0, "of training, on the clock, instead of a number of updates; 0: off",
                          low=0.0, high=1e7)
    batch: int = knob(32, "pictures of an update", low=1, high=4096)
    goals: int = knob(2, "instructions of a picture", low=1, high=6)
    rate: float = knob(1.0e-3, "highest learning rate; it falls to a hundredth along a cosine",
                       low=1e-6, high=1.0)
    warmup: int = knob(300, "updates until the highest rate", low=1, high=100_000)
    weight_decay: float = knob(0.02, "of matrices", low=0.0, high=1.0)
    average: float = knob(0.999, "of the weights that are kept: share of the last average",
                          low=0.0, high=0.99999)
    keep: int = knob(80, "visual tokens that the decoder sees in the first part", low=16, high=256)
    sparse: float = knob(0.7, "share of the updates with so few tokens", low=0.0, high=1.0)
    sigma_bins: float = knob(2.5, "width of the target over action bins", low=0.1, high=50.0)
    shift: int = knob(8, "pixels by which a picture is moved at most: what counts is the way from "
                      "the hand to a thing, not where they appear", low=0, high=64)
    grounding: float = knob(1.0, "weight of the losses on places", low=0.0, high=10.0)
    rescan: int = knob(500, "updates after which new shards are looked for", low=1, high=10**9)
    seed: int = knob(11, "of weights and batches", low=0, high=2**31)
    architecture: Architecture = field(default=ARCHITECTURE)

    def __post_init__(self) -> None:
        check_knobs(self)

    def policy_config(self, revision: str) -> PolicyConfig:
        """The ``policy.json``: metres per step of the controller, no turns, gripper 1 = open."""
        words = dict.fromkeys(word for text in INSTRUCTIONS for word in text.split())
        # Its expert keeps the hand's orientation: what the policy says of turns must do nothing.
        high = [*OSC_POSE_SCALE[:3].tolist(), 0.0, 0.0, 0.0, 1.0]
        low = [-value for value in high[:6]] + [0.0]
        return PolicyConfig(
            revision=revision, architecture=self.architecture, words=tuple(words),
            norm_stats={NORM_KEY: {"action": {"q01": low, "q99": high, "mask": [True] * 7}}},
            norm_key=NORM_KEY, control_period_s=CONTROL_PERIOD_S,
            camera={"name": CAMERA, "frame": "LIBERO's agentview, 256 x 256, turned by 180 degrees "
                    "and reduced to 224 x 224 by area"},
        )

    def record(self) -> dict[str, Any]:
        """For the training record."""
        return asdict(self)
