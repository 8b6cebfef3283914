# SPDX-License-Identifier: Apache-2.0
"""Which statistics un-normalise the actions of a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.foreign.text import printable
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.families import CONFIG
from vla_infoentropy_ros.models.json_fields import Fields, read_json

DATASET_STATISTICS = "dataset_statistics.json"

logger = logging.getLogger(__name__)


def read_norm_stats(folder: Path, from_config: Mapping[str, Any]) -> Fields:
    """Statistics by dataset key: those of ``dataset_statistics.json`` where a fine-tune left one,
    since its config.json still holds the base model's; otherwise ``norm_stats`` of config.json."""
    path = folder / DATASET_STATISTICS
    own = path.is_file()
    found = Fields(DATASET_STATISTICS, read_json(path)) if own else (
        Fields(CONFIG, from_config, "norm_stats.")
    )
    if not found.values:  # an empty file of a fine-tune never means the base model's statistics
        place = f"{path} is empty" if own else (
            f"{folder}: no norm_stats in {CONFIG} and no {DATASET_STATISTICS}"
        )
        raise PolicyError(
            f"{place}, so actions have no units; copy the {DATASET_STATISTICS} that training "
            "wrote into the folder"
        )
    return found


def choose_key(norm_stats: Mapping[str, Any], unnorm_key: str) -> str:
    """The key to use; with "" the only one there is. Errors list the keys."""
    keys = sorted(norm_stats)
    if unnorm_key in norm_stats:
        return unnorm_key
    listed = ", ".join(keys)
    if unnorm_key:
        raise PolicyError(f"unnorm_key={unnorm_key!r} is not in this checkpoint; it has: {listed}")
    if len(keys) != 1:
        raise PolicyError(f"unnorm_key is required: name a data set to act like, one of: {listed}")
    logger.info("unnorm_key: %s, the only one of this checkpoint", printable(keys[0]))
    return keys[0]
