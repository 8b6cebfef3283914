# SPDX-License-Identifier: Apache-2.0
"""What ``policy.json`` holds: everything about the embedded policy except the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from vla_infoentropy_ros.foreign.budgets import within
from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.models.action_codec import ActionStats
from vla_infoentropy_ros.models.action_statistics import action_stats
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.json_fields import Fields, read_json

FILE = "policy.json"
FORMAT = 1
LARGEST = 4096  # of any size of this small policy
MOST_BLOCKS = 100  # of a tower or decoder; each takes milliseconds to make, however small

_Part = TypeVar("_Part", "Architecture", "FlowConfig")


@dataclass(frozen=True)
class Architecture:
    """Sizes of the two networks. ``image_size`` and ``patch`` in pixels."""

    image_size: int = 224
    patch: int = 14
    stem_width: int = 32
    vision_width: int = 128
    vision_blocks: int = 2
    vision_heads: int = 4
    vision_ff: int = 384
    projector_width: int = 384
    width: int = 192
    layers: int = 4
    heads: int = 6
    ff: int = 512

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            most = MOST_BLOCKS if name in ("layers", "vision_blocks") else LARGEST
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise PolicyError(
                    f"architecture.{name} = {shown(value)}: must be an integer from 1 to {most}"
                )
        if self.image_size % self.patch or self.patch % 2:
            raise PolicyError(
                f"architecture.patch = {self.patch}: must be even and divide image_size = "
                f"{self.image_size}"
            )
        for name, width, heads in (
            ("vision_heads", self.vision_width, self.vision_heads),
            ("heads", self.width, self.heads),
        ):
            if width % heads:
                raise PolicyError(f"architecture.{name} = {heads}: must divide {width}")

    def weights(self, vocab_size: int) -> int:
        """Weights of both networks, without biases and norms: known before they are made."""
        half = self.patch // 2
        block = 4 * self.vision_width**2 + 2 * self.vision_width * self.vision_ff
        layer = 4 * self.width**2 + 3 * self.width * self.ff
        return (
            3 * self.stem_width * half**2 + 18 * self.stem_width**2
            + 8 * self.stem_width * self.vision_width + self.side**2 * self.vision_width
            + self.vision_blocks * block + self.layers * layer
            + self.projector_width * (self.vision_width + self.width)
            + 2 * vocab_size * self.width
        )

    @property
    def side(self) -> int:
        """Visual tokens per row and per column."""
        return self.image_size // self.patch


@dataclass(frozen=True)
class FlowConfig:
    """Of a policy that acts by flow. horizon: actions in a chunk. steps: Euler steps. sees: rows
    of the prefix that the expert reads, "prefix" for all, "images" for the visual ones alone."""

    horizon: int = 4
    steps: int = 8
    sees: str = "prefix"

    def __post_init__(self) -> None:
        for name, most in (("horizon", 64), ("steps", 1000)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise PolicyError(
                    f"flow.{name} = {shown(value)}: must be an integer from 1 to {most}"
                )
        if self.sees not in ("prefix", "images"):
            raise PolicyError(f"flow.sees = {shown(self.sees)}: must be 'prefix' or 'images'")


@dataclass(frozen=True)
class PolicyConfig:
    """Contents of ``policy.json``.

    ``norm_stats`` maps a key to ``{"action": {"q01": [7], "q99": [7], "mask": [7]}}``, metres and
    radians per control step; ``camera`` tells how the training pictures were taken.
    """

    revision: str
    architecture: Architecture
    words: tuple[str, ...]
    norm_stats: dict[str, Any]
    norm_key: str
    camera: dict[str, Any]
    control_period_s: float = 0.2
    action_bins: int = 256
    flow: FlowConfig | None = None  # None: it acts by tokens

    def __post_init__(self) -> None:
        if self.norm_key not in self.norm_stats:
            raise PolicyError(
                f"norm_key = {self.norm_key!r}: must be one of {sorted(self.norm_stats)}"
            )
        within(
            "parameters", self.architecture.weights(len(self.words) + self.action_bins), FILE,
            PolicyError,
        )
        if self.control_period_s <= 0:
            raise PolicyError(f"control_period_s = {self.control_period_s}: must be > 0 seconds")

    @property
    def stats(self) -> ActionStats:
        """What un-normalises actions; raises PolicyError where it cannot."""
        return action_stats(Fields(FILE, self.norm_stats, "norm_stats."), self.norm_key)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> PolicyConfig:
        """From parsed JSON; says which keys are missing or unknown."""
        values = dict(values)
        if values.pop("format", None) != FORMAT:
            raise PolicyError(f"policy.json: 'format' must be {FORMAT}; retrain or update")
        names = {item.name for item in fields(cls)}
        required = names - {"control_period_s", "action_bins", "flow"}
        missing, unknown = sorted(required - values.keys()), sorted(values.keys() - names)
        if missing or unknown:
            raise PolicyError(f"policy.json: missing keys {missing}, unknown keys {unknown}")
        found = Fields(FILE, values)
        flow = _part(found, "flow", FlowConfig) if values.get("flow") is not None else None
        return cls(
            revision=found.text("revision"),
            architecture=_part(found, "architecture", Architecture),
            words=tuple(found.texts("words")),
            norm_stats=dict(found.object("norm_stats").values),
            norm_key=found.text("norm_key"),
            camera=dict(found.object("camera").values),
            control_period_s=found.number("control_period_s", 0.2),
            action_bins=found.integer("action_bins", 256, low=2, high=65536),
            flow=flow,
        )

    @classmethod
    def read(cls, path: Path) -> PolicyConfig:
        """Read and check ``path``."""
        return cls.from_mapping(read_json(path))

    def dump(self) -> str:
        """The JSON text of this configuration."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"


def _part(found: Fields, name: str, kind: type[_Part]) -> _Part:
    """An object of ``policy.json``, all of whose keys are fields of ``kind``."""
    values = found.object(name).values
    if stray := sorted(values.keys() - {item.name for item in fields(kind)}):
        raise PolicyError(f"policy.json: unknown {name} keys {stray}")
    return kind(**values)
