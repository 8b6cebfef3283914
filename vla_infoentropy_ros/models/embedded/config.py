# SPDX-License-Identifier: Apache-2.0
"""What ``policy.json`` holds: everything about the embedded policy except the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.models.adapter import PolicyError

FORMAT = 1


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
            if not isinstance(value, int) or value < 1:
                raise PolicyError(f"architecture.{name} = {value!r}: must be a positive integer")
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

    @property
    def side(self) -> int:
        """Visual tokens per row and per column."""
        return self.image_size // self.patch


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

    def __post_init__(self) -> None:
        if self.norm_key not in self.norm_stats:
            raise PolicyError(
                f"norm_key = {self.norm_key!r}: must be one of {sorted(self.norm_stats)}"
            )
        if self.control_period_s <= 0:
            raise PolicyError(f"control_period_s = {self.control_period_s}: must be > 0 seconds")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> PolicyConfig:
        """From parsed JSON; says which keys are missing or unknown."""
        values = dict(values)
        if values.pop("format", None) != FORMAT:
            raise PolicyError(f"policy.json: 'format' must be {FORMAT}; retrain or update")
        names = {item.name for item in fields(cls)}
        required = names - {"control_period_s", "action_bins"}
        missing, unknown = sorted(required - values.keys()), sorted(values.keys() - names)
        if missing or unknown:
            raise PolicyError(f"policy.json: missing keys {missing}, unknown keys {unknown}")
        sizes = values["architecture"]
        stray = sorted(sizes.keys() - {item.name for item in fields(Architecture)})
        if stray:
            raise PolicyError(f"policy.json: unknown architecture keys {stray}")
        values["architecture"] = Architecture(**sizes)
        values["words"] = tuple(values["words"])
        return cls(**values)

    @classmethod
    def read(cls, path: Path) -> PolicyConfig:
        """Read and check ``path``."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise PolicyError(
                f"{path} is not readable as JSON ({error}); restore it from the repository or "
                "retrain with 'python -m vla_infoentropy_ros.training'"
            ) from error
        if not isinstance(values, dict):
            raise PolicyError(f"{path} must hold a JSON object, found {type(values).__name__}")
        return cls.from_mapping(values)

    def dump(self) -> str:
        """The JSON text of this configuration."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"
