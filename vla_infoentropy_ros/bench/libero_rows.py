# SPDX-License-Identifier: Apache-2.0
"""What `bench libero` plays: rows of the tabletop's table, the papers' presets, controls."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from vla_infoentropy_ros.bench.episodes import ROWS as TABLETOP_ROWS
from vla_infoentropy_ros.bench.episodes import Row
from vla_infoentropy_ros.selection.settings import SelectionSettings
from vla_infoentropy_ros.variants import Variant

_NAMES = (
    "fastv 128", "fastv 64", "attention_drift 64", "attention_drift 64 window",
    "attention_drift 64 window, linear",
    "attention_drift 48", "attention_drift 48 window", "attention_drift 32", "attention_drift 24",
    "random 64", "stale",
)


@dataclass(frozen=True)
class Played:
    """A row of `bench.episodes`, and what is done to what the policy is told or shown."""

    row: Row
    control: str = "none"

    def serving(self) -> list[str]:
        """The arguments of ``serve``."""
        sets = [f"--set=selection.{name}={value}" for name, value in self.row.settings.items()]
        return ["--selector", self.row.variant, "--schedule", self.row.schedule, *sets]

    def in_full(self) -> dict[str, str]:
        """All that decides what is played, defaults of this version included."""
        settings = asdict(replace(SelectionSettings(), **self.row.settings))
        return {"variant": self.row.variant, "schedule": self.row.schedule,
                "control": self.control,
                **{f"selection.{name}": str(value) for name, value in settings.items()}}


# As published: what config/paper_*.yaml sets, where it is not the default.
_PAPERS = {
    "paper_infoentropy": Row("info_entropy", settings={"patch_block": 1}),
    "paper_vla_cache": Row("vla_cache", settings={"patch_block": 1}),
    "paper_vla_pruner": Row("vla_pruner", settings={"prune_action_rows": "predicting"}),
}
ROWS = {
    name: Played(row) for name, row in (
        ("dense", TABLETOP_ROWS["dense"]), *_PAPERS.items(),
        *((name, TABLETOP_ROWS[name]) for name in _NAMES),
    )
} | {
    "dense, wrong instruction": Played(TABLETOP_ROWS["dense"], "wrong_instruction"),
    "dense, first picture": Played(TABLETOP_ROWS["dense"], "stale"),
    # How many episodes end otherwise for no reason at all.
    "dense, one grey level": Played(TABLETOP_ROWS["dense"], "grain"),
}


DEFAULT = "attention_drift 64 window"
"""The row of config/policy.yaml."""


def row_of(name: str) -> Played:
    """A row of `ROWS`, else what the name says by itself: a variant. Raises SettingError."""
    return ROWS.get(name) or Played(Row(str(Variant.parse(name))))
