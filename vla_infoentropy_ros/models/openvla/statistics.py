# SPDX-License-Identifier: Apache-2.0
"""Which statistics un-normalise the actions of a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.models.action_codec import ActionError, ActionStats
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.openvla.config import read_json

DATASET_STATISTICS = "dataset_statistics.json"
DOF = 7

logger = logging.getLogger(__name__)


def read_norm_stats(folder: Path, from_config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Statistics by dataset key: those of ``dataset_statistics.json`` where a fine-tune left one,
    since its config.json still holds the base model's; otherwise ``norm_stats`` of config.json."""
    path = folder / DATASET_STATISTICS
    if path.is_file():
        return read_json(path)
    if not from_config:
        raise PolicyError(
            f"{folder}: no norm_stats in config.json and no {DATASET_STATISTICS}; copy the "
            f"{DATASET_STATISTICS} that training wrote into the folder"
        )
    return from_config


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
    logger.info("unnorm_key: %s, the only one of this checkpoint", keys[0])
    return keys[0]


def action_stats(norm_stats: Mapping[str, Any], key: str) -> ActionStats:
    """The action statistics of one key, for 7 degrees of freedom."""
    entry = norm_stats[key]
    if not isinstance(entry, Mapping) or "action" not in entry:
        raise PolicyError(f"norm_stats of {key!r} have no 'action' entry")
    try:
        stats = ActionStats.from_mapping(entry["action"])
    except (ActionError, TypeError, ValueError) as error:
        raise PolicyError(f"norm_stats of {key!r}: {error}") from error
    if stats.dof != DOF:
        raise PolicyError(
            f"norm_stats of {key!r} describe {stats.dof} action values, must be {DOF}: x, y, z, "
            "three rotations, gripper"
        )
    return stats
