# SPDX-License-Identifier: Apache-2.0
"""Tables from docs/results/*.json: what each holds, and what to choose by them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adding import added

from vla_infoentropy_ros.bench.libero_rows import DEFAULT

Record = Mapping[str, Any]

_CHOICES = {  # selector:=, and its row of episodes ("" with drafts, whose tokens are the same)
    "dense": "dense",
    "dense+window": "",
    "attention_drift+window": "",
    "attention_drift": "attention_drift 64",
    "info_entropy": "info_entropy",
    "vla_cache": "vla_cache",
    "vla_pruner": "vla_pruner 128",
}
_ON_LIBERO = {  # the same on LIBERO, where the papers' rows are their presets
    "dense": "dense",
    "attention_drift 64 window": "attention_drift 64",
    "paper_infoentropy": "info_entropy",
    "paper_vla_cache": "vla_cache",
    "paper_vla_pruner": "vla_pruner 128",
}
_DECISIVE = ("`selector:=`", "speed-up", "success, 95 %", "same actions as dense", "on LIBERO")
_NOISE = "noise 10"
_RESULTS = Path("docs/results")
_LONG = 50  # episodes
_ABOUT = ("command", "options", "hardware", "versions", "definitions", "limits", "measured_on")


def choosing(root: Path) -> str:
    """Every selector worth choosing, by what was measured."""
    steps = _load(root, "steps")["variants"]
    rows = _load(root, "episodes")["rows"] | _load(root, "noise")["rows"]
    most = rows | _load(root, "budgets")["rows"]
    elsewhere = {
        "under noise": {name.removesuffix(f", {_NOISE}"): _success(of)
                        for name, of in rows.items() if name.endswith(f", {_NOISE}")},
        "on LIBERO": {_ON_LIBERO[name]: _success(of) if name == "dense" else _against_dense(of)
                      for name, of in _libero_rows(root).items() if name in _ON_LIBERO},
    }
    table: list[tuple[str, ...]] = [
        ("`selector:=`", "speed-up", "milliseconds", "success, 95 %", "steps",
         "same actions as dense", *elsewhere, "tokens recomputed")
    ]
    for name, row in _CHOICES.items():
        step, same = steps[name], f"as `{name.removesuffix('+window')}`"
        table.append((
            f"`{name}`", f"{steps['dense']['p50_ms'] / step['p50_ms']:.2f}",
            f"{step['p50_ms']:.1f}",
            *((_success(most[row]), f"{most[row]['steps_mean']:.1f}") if row else (same, same)),
            f"{step['same_actions']:.0%}",
            *(of.get(row, "not measured") if row else same for of in elsewhere.values()),
            f"{step['fresh'] / 256:.0%}",
        ))
    return _markdown(table)


def short_choosing(root: Path) -> str:
    """The columns that decide."""
    head, *lines = [line.split("|")[1:-1] for line in choosing(root).splitlines()]
    chosen = [at for at, name in enumerate(head) if name.strip() in _DECISIVE]
    return "\n".join("|".join(["", *(line[at] for at in chosen), ""]) for line in [head, *lines])


def document(root: Path) -> str:
    """One section for each file of results, in the order of their names."""
    parts = []
    for path in sorted((root / _RESULTS).glob("*.json")):
        record = _load(root, path.stem)
        told = _TABLES.get(path.stem, _rows if "rows" in record else _scalars)(record)
        parts.append(f"### {path.stem}\n\n{_origin(path.name, record)}\n\n{told}\n")
    return "\n".join(parts)


def _origin(name: str, record: Record) -> str:
    command = record.get("command", "python -m vla_infoentropy_ros " + _UNNAMED.get(name, ""))
    where = record.get("hardware") or record.get("measured_on", {})
    parts = [f"`{command.removeprefix('python -m vla_infoentropy_ros ')}`"]
    if version := (record.get("versions") or where).get("vla_infoentropy_ros"):
        parts.append(f"version {version}")
    if where:
        parts.append(where.get("gpu") or f"{where['cores']} cores of {where['cpu']}")
        parts.append(f"load of a minute {where['load_1min_at_start']}")
    return f"{', '.join(parts)}. All figures: [{name}](results/{name})."


_UNNAMED = {"demo.json": "demo", "transport.json": "bench transport"}


def _steps(record: Record) -> str:
    variants = record["variants"]
    dense = variants["dense"]["p50_ms"]
    shares = {"same actions": "same_actions", "tokens as greedy": "tokens_as_greedy",
              "plans as greedy": "plans_as_greedy"}
    told = [title for title, key in shares.items() if any(key in of for of in variants.values())]
    return _markdown([("variant", "p50 ms", "p95 ms", "speed-up", "passes", *told)] + [
        (f"`{name}`", f"{of['p50_ms']:.1f}", f"{of['p95_ms']:.1f}", f"{dense / of['p50_ms']:.2f}",
         f"{of['passes']:.1f}",
         *(f"{of[shares[title]]:.1%}" if shares[title] in of else "" for title in told))
        for name, of in variants.items()])


def _episodes(record: Record) -> str:
    """Without a column of passes where no row tells them."""
    passes = any("passes_mean" in of for of in record["rows"].values())
    columns = ("row", "success, 95 %", "steps", "tokens", "passes", "won, lost against dense")
    table = [columns] + [
        (name, _success(of), f"{of['steps_mean']:.1f}", f"{of['fresh_mean']:.0f}",
         f"{of['passes_mean']:.2f}" if "passes_mean" in of else "",
         f"{of['won_against_dense']}, {of['lost_against_dense']}")
        for name, of in record["rows"].items()]
    return _markdown([row if passes else (*row[:4], row[5]) for row in table])


def libero(root: Path) -> str:
    """What was played on LIBERO."""
    return _libero({"rows": _libero_rows(root)})


def _libero_rows(root: Path) -> dict[str, dict[str, Any]]:
    """Of all that was played, each initial state of a row once: of rows as long as dense the
    newest table has all that the older ones have. Times of rows that played long beside dense."""
    newest = _load(root, "libero")["rows"]
    whole = {name for name, of in newest.items()
             if of["episodes"] == newest["dense"]["episodes"]}
    older = ({name: of for name, of in _load(root, table)["rows"].items() if name not in whole}
             for table in ("libero_second", "libero_first"))
    long = {name for name, of in newest.items() if of["episodes"] >= _LONG}
    return {name: of if name in long else of | {"policy_ms_median": None}
            for name, of in added(newest, *older).items()}


def _libero(record: Record) -> str:
    """Success of each suite, what was won and lost against dense, what a step takes; and the
    counts of each task."""
    rows = record["rows"]
    table: list[tuple[str, ...]] = [
        ("row", "Spatial", "Object", "both, 95 %", "won, lost against dense", "difference, 95 %",
         "the default of its time won, lost", "steps", "tokens", "end to end, ms", "GMACs")
    ]
    for name, of in rows.items():
        parts = [of["suites"].get(f"libero_{suite}") for suite in ("spatial", "object")]
        low, high = of["difference_ci95"]
        paired, default = name != "dense", of["default_against_it"]
        table.append((
            f"`{name}`",
            *(f"{part['successes']}/{part['episodes']}" if part else "" for part in parts),
            _success(of),
            f"{of['won_against_dense']}, {of['lost_against_dense']} of {of['pairs']}"
            if paired else "",
            f"{100 * low:+.0f} to {100 * high:+.0f} points" if paired else "",
            f"{default['won']}, {default['lost']} of {default['pairs']}"
            if paired and name != DEFAULT else "",
            f"{of['steps_mean']:.0f}", f"{of['fresh_mean']:.0f}",
            f"{of['policy_ms_median']:.0f}" if of["policy_ms_median"] else "",
            f"{of['macs_mean'] / 1e9:.2f}",
        ))
    by_task = [
        f"{suite.title()}, by task:\n\n" + _markdown([("row", *map(str, range(10)))] + [
            (f"`{name}`", *(counts.get(str(task), "") for task in range(10)))
            for name, of in rows.items()
            for counts in [of["suites"].get(f"libero_{suite}", {}).get("tasks", {})] if counts])
        for suite in ("spatial", "object")
    ]
    return "\n\n".join([_markdown(table), *by_task])


def _long_horizon(record: Record) -> str:
    """As `_episodes`, and in how many the first instruction, the first two, ... were followed."""
    head, rule, *rows = _episodes(record).splitlines()
    counts = (", ".join(map(str, of["solved"])) for of in record["rows"].values())
    return "\n".join([f"{head} by instruction |", f"{rule}---|",
                      *(f"{row} {count} |" for row, count in zip(rows, counts, strict=True))])


def _demo(record: Record) -> str:
    return _markdown([("variant", "success, 95 %", "p50 ms", "p95 ms", "speed-up, 95 %")] + [
        (f"`{name}`", _success(of), f"{of['latency_ms']['p50']:.1f}",
         f"{of['latency_ms']['p95']:.1f}",
         f"{of['speedup_p50']:.2f} ({'-'.join(f'{x:.2f}' for x in of['speedup_p50_ci95'])})"
         if "speedup_p50" in of else "")
        for name, of in ((name, record[name]) for name in record["selectors"])])


def _abuse(record: Record) -> str:
    return _markdown([("abuse", "longest gap, ms", "to zero, ms", "peak, MB", "fault")] + [
        (name, f"{of['gap_s'] * 1e3:.0f}", f"{of['stop_s'] * 1e3:.0f}",
         f"{of['peak_bytes'] / 1e6:.0f}", of["fault"])
        for name, of in record["rows"].items()])


def _arms(record: Record) -> str:
    return _markdown([("arm", "variant", "success, 95 %", "steps, median")] + [
        (arm, f"`{name}`", _success(of), _median(of['median_steps']))
        for arm, variants in record["arms"].items() for name, of in variants.items()])


def _conditions(record: Record) -> str:
    of_blocks = record["unchanged_of_256_by_block_px"]
    blocks = list(next(iter(of_blocks.values())))
    head = ("camera", *(f"blocks of {block} px" for block in blocks))
    return "Patches of 256 that count as unchanged:\n\n" + _markdown([head] + [
        (name, *(f"{of[block]:.0f}" for block in blocks)) for name, of in of_blocks.items()])


def _flow(record: Record) -> str:
    return _markdown([("way", "first action, mm off", "from the expert, mm", "CPU ms")] + [
        (name, *(f"{of[key]:.2f}" if key in of else "" for key in ("first_mm", "expert_mm", "ms")))
        for name, of in record["ways"].items()])


def _gazebo(record: Record) -> str:
    episodes = _markdown([("variant", "success, 95 %", "steps, median", "simulated s, median")] + [
        (f"`{name}`", _success(of), _median(of['median_steps']), _median(of['median_s']))
        for name, of in record["variants"].items()])
    stops = [(name, f"{of['stood_s']:.3f}", f"{of['way_m'] * 1e3:.1f}", of["fault"])
             for name, of in record.get("stops", {}).items() if "stood_s" in of]
    if not stops:
        return episodes
    head = ("what happens to a moving hand", "stands after, simulated s", "mm on", "fault")
    beyond_mm = record["stops"]["workspace"]["beyond_m"] * 1e3
    return (f"{episodes}\n\n{_markdown([head, *stops])}\n\n"
            f"Beyond a workspace smaller than the task: {beyond_mm:.1f} mm.")


def _launches(record: Record) -> str:
    return _markdown([("variant", "launches", "passes")] + [
        (f"`{name}`", f"{of['launches']:,}", str(of["passes"]))
        for name, of in record["variants"].items()])


def _mutation(record: Record) -> str:
    survived = [
        (each["where"], *(f"`{each[key]}`".replace("|", "\\|") for key in ("before", "after")))
        for each in record["survivors"]
    ]
    return (f"Of the tree of {record['tree']}: {record['killed']} of {record['tried']} killed, "
            f"drawn from {record['mutants']:,}. "
            f"Survived:\n\n{_markdown([('where', 'was', 'became'), *survived])}")


def _selection(record: Record) -> str:
    return _markdown([("selector", "alone, ms", "in its place, ms", "share of a dense step")] + [
        (f"`{name}`", f"{of['alone_ms']:.2f}", f"{of['choice_ms']:.2f}", f"{of['share']:.1%}")
        for name, of in record["selectors"].items()])


def _rows(record: Record) -> str:
    """Of any record with rows: the success of each, and its figures."""
    first = next(iter(record["rows"].values()))
    keys = [key for key, value in first.items()
            if isinstance(value, int | float) and key not in ("successes", "episodes")]
    head = ("row", "success, 95 %", *(key.replace("_", " ") for key in keys))
    return _markdown([head] + [(name, _success(of), *(f"{of[key]:.4g}" for key in keys))
                               for name, of in record["rows"].items()])


def _scalars(record: Record) -> str:
    """What a record holds beside where it was made: numbers and words, one level deep."""
    rows = []
    for name, value in record.items():
        if name in _ABOUT:
            continue
        for key, one in (value.items() if isinstance(value, Mapping) else [("", value)]):
            if isinstance(one, int | float | str) and one != "":
                shown = f"{one:,.4g}" if isinstance(one, float) else (
                    f"{one:,}" if isinstance(one, int) else one)
                rows.append((" ".join(filter(None, (name, key))).replace("_", " "), shown))
    return _markdown([("", ""), *rows])


_TABLES: dict[str, Callable[[Record], str]] = {
    "abuse": _abuse, "abuse_mixed": _abuse, "arms": _arms, "arms_trajectory": _arms,
    "budgets": _episodes, "conditions": _conditions, "demo": _demo, "device": _steps,
    "episodes": _episodes, "flow": _flow, "gazebo": _gazebo, "launches": _launches,
    "libero": _libero, "libero_first": _libero, "libero_second": _libero,
    "libero_stock": _libero,
    "long_horizon": _long_horizon, "mutation": _mutation, "mutation_before": _mutation,
    "selection": _selection, "steps": _steps, "steps_bf16": _steps,
}


def _load(root: Path, name: str) -> Any:
    return json.loads((root / _RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _median(value: float | None) -> str:
    """None is that of no episode."""
    return "" if value is None else f"{value:.1f}"


def _success(row: Record) -> str:
    low, high = row.get("success_ci95") or row["interval"]
    return f"{row['successes']}/{row['episodes']} ({low:.0%}-{high:.0%})".replace("%-", "-")


def _against_dense(row: Record) -> str:
    """Success, and dense's on the same episodes: it may have played more."""
    dense = row["successes"] - row["won_against_dense"] + row["lost_against_dense"]
    return f"{_success(row)}, dense {dense}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *others = rows
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in others])
