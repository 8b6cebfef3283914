# SPDX-License-Identifier: Apache-2.0
"""Tables of `bench libero` as one, which have no episode in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vla_infoentropy_ros.success_rates import paired_difference, wilson_interval

Row = Mapping[str, Any]
_MEANS = ("steps_mean", "fresh_mean", "macs_mean")


def added(rows: Mapping[str, Row], *more: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
    """``rows`` with the episodes of the tables ``more``, by the names of the rows.

    Counts are sums, intervals are those of the sums, means are weighted by episodes.
    Medians of times do not add up: they are those of ``rows``, and a row that is not there has
    none.
    """
    names = dict.fromkeys(name for table in (rows, *more) for name in table)
    return {name: _row([table[name] for table in (rows, *more) if name in table])
            | {"policy_ms_median": rows.get(name, {}).get("policy_ms_median")} for name in names}


def _row(parts: list[Row]) -> dict[str, Any]:
    suites = dict.fromkeys(suite for part in parts for suite in part["suites"])
    against = [part["default_against_it"] for part in parts]
    default = {key: sum(each[key] for each in against) for key in ("pairs", "won", "lost")}
    return _counts(parts) | {
        "default_against_it": default,
        "suites": {suite: _suite([part["suites"][suite] for part in parts
                                  if suite in part["suites"]]) for suite in suites},
    }


def _suite(parts: list[Row]) -> dict[str, Any]:
    tasks = sorted({task for part in parts for task in part["tasks"]}, key=int)
    return _counts(parts) | {"tasks": {
        task: "/".join(str(sum(column)) for column in zip(
            *(map(int, part["tasks"][task].split("/")) for part in parts if task in part["tasks"]),
            strict=True))
        for task in tasks}}


def _counts(parts: list[Row]) -> dict[str, Any]:
    def total(key: str) -> int:
        return sum(part[key] for part in parts)

    successes, episodes, pairs = total("successes"), total("episodes"), total("pairs")
    won, lost = total("won_against_dense"), total("lost_against_dense")
    means = {key: sum(part[key] * part["episodes"] for part in parts) / max(episodes, 1)
             for key in _MEANS}
    return means | {
        "successes": successes, "episodes": episodes,
        "success_ci95": wilson_interval(successes, episodes), "pairs": pairs,
        "won_against_dense": won, "lost_against_dense": lost,
        "difference_ci95": paired_difference(won, lost, pairs),
    }
