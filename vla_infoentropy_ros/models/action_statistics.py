# SPDX-License-Identifier: Apache-2.0
"""The action statistics in a policy's JSON file, checked before they scale a motion."""

from __future__ import annotations

from vla_infoentropy_ros.models.action_codec import ActionError, ActionStats
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.json_fields import REMEDY, Fields

DOF = 7


def action_stats(norm_stats: Fields, key: str) -> ActionStats:
    """The statistics at ``KEY.action`` for 7 degrees of freedom.

    q01, q99: 7 numbers each. mask: 7 times true or false, all true where there is none. Raises
    PolicyError for anything else.
    """
    action = norm_stats.object(key).object("action")
    for name in ("q01", "q99"):
        given = action.values.get(name)
        if isinstance(given, (list, tuple)) and len(given) != DOF:
            raise PolicyError(
                f"{action.file}: {action.where}{name} describes {len(given)} action values, must "
                f"be {DOF}: x, y, z, three rotations, gripper; choose other statistics"
            )
        action.numbers(name, DOF)
    action.flags("mask", DOF, [True] * DOF)
    try:
        return ActionStats.from_mapping(
            {name: action.values[name] for name in ("q01", "q99", "mask") if action.has(name)}
        )
    except ActionError as error:
        raise PolicyError(f"{action.file}: {action.where[:-1]}: {error}; {REMEDY}") from error
