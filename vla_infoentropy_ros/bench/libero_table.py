# SPDX-License-Identifier: Apache-2.0
"""What `bench libero` counts: success, pairs with dense, means and medians of what was played."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vla_infoentropy_ros.libero.play import Outcome
from vla_infoentropy_ros.libero.suites import STEP_LIMITS
from vla_infoentropy_ros.success_rates import paired_difference, sign_test, wilson_interval

Key = tuple[str, int, int]
"""Suite, task, initial state."""


def figures_of(played: Mapping[Key, Outcome], dense: Mapping[Key, Outcome]) -> dict[str, Any]:
    """Of all suites together, and the counts of each suite and task."""
    all_of_it = _counts(played, dense)
    parts: dict[str, dict[str, Any]] = {}
    for suite in STEP_LIMITS:
        here = {key: value for key, value in played.items() if key[0] == suite}
        if here:
            parts[suite] = _counts(here, dense)
            parts[suite]["tasks"] = {
                str(task): f"{sum(each.success for each in of)}/{len(of)}"
                for task in sorted({key[1] for key in here})
                for of in [[each for key, each in here.items() if key[1] == task]]
            }
    return all_of_it | {"suites": parts}


def _counts(played: Mapping[Key, Outcome], dense: Mapping[Key, Outcome]) -> dict[str, Any]:
    won = sum(each.success for each in played.values())
    paired = pairing(played, dense)
    pairs, gained, lost = paired["pairs"], paired["won"], paired["lost"]
    figures: dict[str, Any] = {
        "successes": won, "episodes": len(played),
        "success_ci95": wilson_interval(won, len(played)),
        "pairs": pairs, "won_against_dense": gained, "lost_against_dense": lost,
        "difference_ci95": paired_difference(gained, lost, pairs),
        "sign_test_p": paired["sign_test_p"],
    }
    # Of times the median: a day on two cores has hours in which something else runs.
    for name, middle in (("steps", np.mean), ("fresh", np.mean), ("macs", np.mean),
                         ("policy_ms", np.median), ("step_ms", np.median)):
        values = [getattr(each, name) for each in played.values()]
        figures[f"{name}_{middle.__name__}"] = float(middle(values)) if values else 0.0
    return figures


def pairing(ours: Mapping[Key, Outcome], theirs: Mapping[Key, Outcome]) -> dict[str, Any]:
    """On the initial states that both have played: those that ours alone won, and theirs alone."""
    pairs = [(each.success, theirs[key].success) for key, each in ours.items() if key in theirs]
    won = sum(mine and not other for mine, other in pairs)
    lost = sum(other and not mine for mine, other in pairs)
    return {"pairs": len(pairs), "won": won, "lost": lost, "sign_test_p": sign_test(won, lost)}


def show(table: Mapping[str, Mapping[str, Any]]) -> None:
    print(f"{'row':26} {'success':>9} {'95 %':>10} {'against dense':>22} {'steps':>6} {'fresh':>6} "
          f"{'ms':>7} {'end to end':>10} {'GMACs':>6}")
    for name, of in table.items():
        low, high = of["success_ci95"]
        worst, best = of["difference_ci95"]
        against = (f"+{of['won_against_dense']} -{of['lost_against_dense']} "
                   f"[{worst:+.1%}, {best:+.1%}]") if of["pairs"] else ""
        print(f"{name:26} {of['successes']:4}/{of['episodes']:<4} {low:4.0%}-{high:4.0%} "
              f"{against:>22} {of['steps_mean']:6.1f} {of['fresh_mean']:6.1f} "
              f"{of['step_ms_median']:7.1f} {of['policy_ms_median']:10.1f} "
              f"{of['macs_mean'] / 1e9:6.2f}")
