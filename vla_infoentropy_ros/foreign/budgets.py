# SPDX-License-Identifier: Apache-2.0
"""How much of each kind of input is taken, in one table; what is larger is refused before the work.

The table in docs/security.md is tested against this one. Whoever starts a process may raise those
that can sanely be raised, by the environment and so never over the graph:
``VLA_INFOENTROPY_BUDGETS="bag_unpacked_bytes=200e9,picture_bytes=4e8"``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from vla_infoentropy_ros.foreign.text import UserError, shown

VARIABLE = "VLA_INFOENTROPY_BUDGETS"
_MIB = 1 << 20


class BudgetError(UserError, ValueError):
    """An input is larger than its budget; the message names both and says how to raise it."""


@dataclass(frozen=True)
class Budget:
    """most: the largest amount, in ``unit``. of: what is counted. raisable: by `VARIABLE`."""

    most: int
    unit: str
    of: str
    raisable: bool = False


BUDGETS: dict[str, Budget] = {
    # Checkpoints and parameter files
    "json_bytes": Budget(16 * _MIB, "bytes", "a JSON file of a checkpoint"),
    "code_bytes": Budget(_MIB, "bytes", "a Python file of a checkpoint, read and never run"),
    "tokenizer_bytes": Budget(64 * _MIB, "bytes", "tokenizer.json"),
    "nesting": Budget(64, "levels", "JSON or YAML within one another"),
    "yaml_bytes": Budget(4 * _MIB, "bytes", "a YAML or launch file"),
    "yaml_aliases": Budget(0, "aliases", "a YAML file"),
    "weights_header_bytes": Budget(32 * _MIB, "bytes", "the table in front of a weights file"),
    "parameters": Budget(
        50_000_000, "weights", "the network that a policy.json describes", raisable=True
    ),
    "tokenizer_growth": Budget(
        8, "times", "the length that a tokenizer's rules may make of a text"
    ),
    # What comes over the graph
    "picture_packed_bytes": Budget(
        32 * _MIB, "bytes", "a compressed picture", raisable=True
    ),
    "picture_bytes": Budget(
        100_000_000, "bytes", "a picture unpacked: pixels times channels times depth",
        raisable=True,
    ),
    "picture_work_bytes": Budget(
        400_000_000, "bytes", "a progressive picture unpacked, once for each of its scans",
        raisable=True,
    ),
    "picture_parts": Budget(
        20_000, "parts", "chunks of a PNG, segments of a JPEG"
    ),
    "picture_notes": Budget(
        64, "parts", "chunks of a PNG that are no pixels"
    ),
    "message_bytes": Budget(
        256 << 10, "bytes",
        "a message on instruction, ee_pose, joint_states or TF, as it is sent",
    ),
    "request_entries": Budget(256, "entries", "a request about parameters"),
    "instruction_characters": Budget(1000, "characters", "an instruction"),
    "instruction_tokens": Budget(256, "tokens", "an instruction with its template"),
    "name_characters": Budget(256, "characters", "a joint's or frame's name"),
    "joint_names": Budget(1000, "names", "a message on joint_states, or an arm"),
    "frames": Budget(10_000, "frames", "TF"),
    "description_characters": Budget(
        8 * _MIB, "characters", "robot_description", raisable=True
    ),
    # What comes to a server
    "request_bytes": Budget(
        32 * _MIB, "bytes", "a request to a served policy", raisable=True
    ),
    # Recordings
    "bag_unpacked_bytes": Budget(
        50_000_000_000, "bytes", "a compressed file of a bag, unpacked", raisable=True
    ),
    "bag_chunk_bytes": Budget(
        256 * _MIB, "bytes", "a chunk or a message of a bag, unpacked", raisable=True
    ),
    "table_group_bytes": Budget(
        2048 * _MIB, "bytes", "a row group of a parquet table, unpacked", raisable=True
    ),
}


def limit(name: str) -> int:
    """The budget of that name in force. Raises BudgetError where `VARIABLE` is no good."""
    return _raised(os.environ.get(VARIABLE, "")).get(name, BUDGETS[name].most)


def within(
    name: str, amount: int, subject: object, error: type[Exception] = BudgetError
) -> None:
    """Raise ``error`` if ``amount`` is more than the budget ``name``; subject: what is too large.
    """
    most, budget = limit(name), BUDGETS[name]
    if amount <= most:
        return
    hint = f"; where that is meant, set {VARIABLE}={name}={amount}" if budget.raisable else ""
    raise error(
        f"{subject}: {amount:,} {budget.unit}, at most {most:,} are taken of {budget.of}{hint}"
    )


@lru_cache(maxsize=8)
def _raised(text: str) -> dict[str, int]:
    found = {}
    for entry in filter(None, text.split(",")):
        name, _, number = (part.strip() for part in entry.partition("="))
        if name not in BUDGETS or not BUDGETS[name].raisable:
            known = ", ".join(key for key, budget in BUDGETS.items() if budget.raisable)
            raise BudgetError(f"{VARIABLE}: {shown(name)} is not among {known}")
        try:
            found[name] = int(float(number))
        except (ValueError, OverflowError):
            found[name] = 0
        if found[name] < BUDGETS[name].most:
            raise BudgetError(
                f"{VARIABLE}: {name}={shown(number)} must be a number of at least "
                f"{BUDGETS[name].most}, the budget without it"
            )
    return found
