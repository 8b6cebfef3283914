# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros replay BAG``: what would another selector have done?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.load_options import LoadOptions, add_load_arguments
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.replay.bag_recording import BagRecording
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.recording import Window, choose
from vla_infoentropy_ros.replay.stepping import (
    AXES,
    Track,
    against_recording,
    difference,
    frames,
    step_through,
)
from vla_infoentropy_ros.selection import (
    SCHEDULES,
    SELECTORS,
    SelectionSettings,
)
from vla_infoentropy_ros.selection.schedule import check_schedule
from vla_infoentropy_ros.session import StepError
from vla_infoentropy_ros.variants import Variant

_UNITS = {axis: ("mm", 1e3) for axis in AXES[:3]} | {axis: ("mrad", 1e3) for axis in AXES[3:6]}


def main(argv: list[str]) -> int:
    """Replay and print; 0, or 1 with one sentence for a bag or setting that cannot be used."""
    options = _parser().parse_args(argv)
    try:
        result = replay(options)
    except (BagError, PolicyError, SettingError, StepError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    _print(result)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for lost in result["shortfalls"]:
        print(f"error: the bag was read in part: {lost}; `ros2 bag reindex` counts anew",
              file=sys.stderr)
    return 1 if result["shortfalls"] else 0


def replay(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one replay, as ``--json`` writes them."""
    settings = _settings(options.set)
    check_schedule(options.schedule)
    loading = LoadOptions.from_arguments(options)
    variants = dict.fromkeys(map(Variant.parse, [options.selector, *options.compare]))
    # The bag is judged before the policy is loaded: loading a large one takes minutes.
    recording = BagRecording(options.bag, options.image_topic, options.instruction_topic)
    with closing(recording):
        policy = load_policy(options.model, loading)
        topics = choose(options.bag, recording.cameras, (), policy.views)
        sessions = {
            str(each): each.session(policy, options.schedule, settings) for each in variants
        }
        tracks, instruction = step_through(frames(recording, Window()), sessions,
                                           options.instruction)
        lost = recording.shortfalls()
        recorded = recording.actions()
    base = next((track for track in tracks if track.selector != options.selector), None)
    return {
        "bag": str(options.bag),
        "image_topics": topics,
        "instruction": instruction,
        "policy": {"name": policy.name, "revision": policy.revision},
        "frames": len(tracks[0].stamps_ns),
        "notes": recording.notes,
        "shortfalls": lost,
        "selectors": {track.selector: _figures(track, base, recorded) for track in tracks},
    }


def _figures(track: Track, base: Track | None, recorded: Sequence[Any]) -> dict[str, Any]:
    figures = track.figures()
    if base is not None and base is not track:
        figures[f"difference_to_{base.selector}"] = difference(track, base)
    live = against_recording(track, recorded)
    if live is not None:
        figures["difference_to_recorded"] = live
    return figures


def _print(result: Mapping[str, Any]) -> None:
    print(f"{result['frames']} frames from {', '.join(result['image_topics'])} of {result['bag']}")
    print(f'instruction "{result["instruction"]}", policy {result["policy"]["name"]} '
          f"{result['policy']['revision']}".rstrip())
    print(f"\n{'selector':<24}{'p50 ms':>8}{'p95 ms':>8}{'tokens':>8}{'full steps':>12}")
    for name, figures in result["selectors"].items():
        latency = figures["latency_ms"]
        print(f"{name:<24}{latency['p50']:>8.1f}{latency['p95']:>8.1f}"
              f"{figures['recomputed_fraction']:>8.0%}{figures['full_steps']:>12}")
    for name, figures in result["selectors"].items():
        for key, gap in figures.items():
            if key.startswith("difference_to_"):
                _print_difference(name, key.removeprefix("difference_to_"), gap)


def _print_difference(name: str, base: str, gap: Mapping[str, Any]) -> None:
    print(f"\n{name} against {base}: {gap['equal_actions']} of {gap['steps']} actions equal, "
          "token for token")
    print("  " + "".join(f"{axis:>13}" for axis in AXES))
    for row in ("max", "mean"):
        cells = []
        for axis in AXES:
            unit, scale = _UNITS.get(axis, ("", 1.0))
            cells.append(f"{gap[row][axis] * scale:.2f} {unit}".strip())
        print("  " + "".join(f"{cell:>13}" for cell in cells) + f"   {row}")


def _settings(assignments: Sequence[str]) -> SelectionSettings:
    """``name=value`` texts to settings; each value takes the type of the default."""
    kinds: dict[str, Any] = {knob.name: type(knob.default) for knob in fields(SelectionSettings)}
    values: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"--set {text!r}: write it as name=value")
        kind = kinds.get(name, str)
        try:
            values[name] = _read(value, kind)
        except ValueError:
            raise SettingError(f"--set {text}: {value!r} is no {kind.__name__}") from None
    return SelectionSettings.from_mapping(values)


def _read(text: str, kind: Any) -> Any:
    if kind is bool:
        return text.lower() == "true"
    if kind is tuple:
        return tuple(int(number) for number in text.split(","))
    return kind(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros replay",
        description="Step a policy through the camera frames of a bag, without ROS, under one or "
        "more selectors; report how their actions differ. The bag is not changed.",
    )
    parser.add_argument("bag", type=Path, help="bag folder, or an .mcap or .db3 file")
    parser.add_argument("--selector", default="attention_drift",
                        help=f"one of {', '.join(SELECTORS)}, with +window to verify the last "
                        "action instead of decoding (default: %(default)s)")
    parser.add_argument("--compare", action="append", default=[], metavar="SELECTOR",
                        help="another selector on the same frames; may be repeated")
    parser.add_argument("--schedule", default="linear",
                        help=f"one of {', '.join(SCHEDULES)} (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="a hyperparameter of the selection, such as fresh_tokens=24")
    parser.add_argument("--image-topic", action="append", default=[], metavar="TOPIC",
                        help="once per camera view; not needed where the bag has just one")
    parser.add_argument("--instruction", default="", help="instead of the recorded instruction")
    parser.add_argument("--instruction-topic", default="", metavar="TOPIC",
                        help="std_msgs/String topic; default: the one called instruction")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    add_load_arguments(parser)
    return parser
