# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros replay RECORDING``: what would another selector have done?"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.arguments import (
    add_file_argument,
    add_selection_arguments,
    parse,
    settings_of,
)
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.driving.state_input import add_state_arguments
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.interrupting import terminable
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.load_options import add_load_arguments
from vla_infoentropy_ros.models.loading import load_asked
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.opening import EPISODE, RATE_HZ, open_recording
from vla_infoentropy_ros.replay.output import (
    BAG,
    FIGURES,
    PAGE,
    ReplayBag,
    check_place,
    claim,
    empty,
    write_figures,
    write_page,
)
from vla_infoentropy_ros.replay.recording import EVER_NS, Recording, Window
from vla_infoentropy_ros.replay.results import Results
from vla_infoentropy_ros.replay.stepping import Moment, Replay
from vla_infoentropy_ros.replay.threads import Behind
from vla_infoentropy_ros.replay.tracks import AXES, parse_tolerances
from vla_infoentropy_ros.report.machine import hardware, versions
from vla_infoentropy_ros.session import SessionOptions, notes_on
from vla_infoentropy_ros.variants import Variant

_UNITS = {axis: ("mm", 1e3) for axis in AXES[:3]} | {axis: ("mrad", 1e3) for axis in AXES[3:6]}
USABLE, WRONG, APART, INTERRUPTED = 0, 1, 3, 130
"""Exit codes; 2 is the command line's own."""


@dataclass(frozen=True)
class Outcome:
    """code: of the above. errors: sentences that explain it."""

    code: int
    summary: Mapping[str, Any]
    errors: Sequence[str]


def main(argv: list[str]) -> int:
    """Replay and print: 0, 1 with a sentence where the recording or a setting cannot be used or was
    used in part, 3 where --tolerance is exceeded, 130 after an interrupt."""
    options = None
    try:
        options = parse(_parser(), argv)
        with terminable():
            outcome = replay(options)
    except KeyboardInterrupt:
        print("interrupted before the first step", file=sys.stderr)
        return INTERRUPTED
    except (UserError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    except OSError as error:
        place = error.filename or (options and (options.out or options.recording))
        print(f"error: {place}: {error.strerror or error}", file=sys.stderr)
        return WRONG
    _print(outcome.summary)
    if options.out:
        print(f"\nreport   {options.out / PAGE}\nbag      {options.out / BAG}\n"
              f"figures  {options.out / FIGURES}")
    for told in outcome.errors:
        print(f"error: {told}", file=sys.stderr)
    return outcome.code


def replay(options: argparse.Namespace) -> Outcome:
    """Replay, write what was asked for, and judge it."""
    tolerance = parse_tolerances(options.tolerance)
    settings = settings_of(options)
    variants = _variants([options.selector, *options.compare])
    window = Window(_nanoseconds("start", options.start, 0),
                    _nanoseconds("end", options.end, EVER_NS))
    with ExitStack() as stack:
        # The recording is judged before the policy is loaded: a large one takes minutes.
        recording = stack.enter_context(closing(_recording(options, settings)))
        policy = load_asked(options)
        recording.assign(policy.views, getattr(policy, "camera_names", ()))
        run = stack.enter_context(
            closing(Replay(policy, variants, settings, options.instruction, options.every))
        )
        results = Results(list(variants), policy)
        sink = None
        if options.out:
            empty(options.out)
            sink = stack.enter_context(
                ReplayBag(options.out / BAG, policy, variants, settings)
            )
        interrupted = _step(run, recording, window, results, sink)
        gaps = results.gaps(recording.actions())
        lost = [] if interrupted else recording.shortfalls()
        notes = [*_notes(recording, run, policy, variants, settings), *results.notes]
    if not run.account.used and not interrupted:
        raise BagError(_nothing_used(recording, notes))
    if interrupted:
        notes.insert(0, "interrupted: what follows is of the frames until then")
    summary = {
        "recording": str(recording.path),
        "cameras": list(recording.cameras),
        "policy": {"name": policy.name, "revision": policy.revision},
        "settings": _asked(options),
        "images": run.account.figures(),
        "interrupted": interrupted,
        "notes": notes,
        "shortfalls": lost,
        "measured_on": hardware() | versions(),
        **results.figures(gaps),
    }
    if options.out:
        write_figures(options.out / FIGURES, summary)
        write_page(options.out, results.record(summary, gaps, [*lost, *notes]))
    if options.json:
        write_figures(options.json, summary)
    parts = [f"the recording was read in part: {each}" for each in lost]
    if tolerance and not gaps:
        parts.append("--tolerance compares, but there is nothing to compare with: give --compare "
                     "dense")
    if run.account.rejected:
        parts.append("messages were rejected: see the notes")
    if run.account.failed:
        parts.append("the policy gave no action on some frames: see the notes")
    apart = [told for gap in gaps for told in gap.exceeding(tolerance)]
    code = INTERRUPTED if interrupted else WRONG if parts else APART if apart else USABLE
    return Outcome(code, summary, [*parts, *apart])


def _variants(names: Sequence[str]) -> dict[str, Variant]:
    """By name, in order. Raises SettingError for one that comes twice."""
    variants: dict[str, Variant] = {}
    for variant in map(Variant.parse, names):
        if str(variant) in variants:
            raise SettingError(f"--compare {variant} is replayed already: name another selector "
                               "to compare with")
        variants[str(variant)] = variant
    return variants


def _recording(options: argparse.Namespace, settings: PolicyNodeSettings) -> Recording:
    """What is to be replayed; nothing that is to be written lies in it."""
    recording = open_recording(options, settings.command.pose_source)
    try:
        if options.json:
            check_place(options.json, recording.path)
        if options.out:
            claim(options.out, recording.path)
    except BaseException:
        recording.close()
        raise
    return recording


def _notes(
    recording: Recording, run: Replay, policy: Any, variants: Mapping[str, Variant],
    settings: PolicyNodeSettings,
) -> list[str]:
    """What a person should know of it."""
    notes = [*recording.notes, *run.notes(recording.cameras[0])]
    for each in variants.values():
        notes += notes_on(policy, each.selector, settings.selection,
                          SessionOptions(decode=each.decode))
    if refused := run.refused_instruction():
        notes.append(f"the policy refused the instruction: {refused}")
    return notes


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, for whoever reads the figures later."""
    given = dict(text.split("=", 1) for text in options.set)
    return {"schedule": options.schedule, "every": options.every,
            "params_file": options.params_file, "start_s": options.start,
            "end_s": options.end} | given


def _step(
    run: Replay, recording: Recording, window: Window, results: Results, sink: ReplayBag | None
) -> bool:
    """Through the recording; true if it was interrupted."""
    total = recording.images if window.whole else None
    began_s = time.monotonic()
    try:
        with (tqdm(total=total, unit=" images", disable=None, leave=False) as bar,
              Behind(partial(_take, results=results, sink=sink)) as behind,
              closing(run.moments(recording.events(window))) as moments):
            for moment in moments:
                behind.put(moment)
                bar.update(run.images - bar.n)
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    results.whole_s = time.monotonic() - began_s
    return interrupted


def _take(moment: Moment, results: Results, sink: ReplayBag | None) -> None:
    results.see(moment)
    if sink is not None:
        sink.add(moment)


def _nothing_used(recording: Recording, notes: Sequence[str]) -> str:
    why = "; ".join(notes) or "it holds no image within --start and --end"
    return f"no frame of {recording.path} could be used: {why}"


def _nanoseconds(flag: str, seconds: float | None, otherwise: int) -> int:
    if seconds is None:
        return otherwise
    if not abs(seconds) < EVER_NS / 1e9:
        raise SettingError(f"--{flag} {seconds:g}: give seconds from the beginning")
    return round(seconds * 1e9)


def _print(summary: Mapping[str, Any]) -> None:
    used, received = summary["images"]["used"], summary["images"]["received"]
    print(f"{used} of {received} images from {', '.join(summary['cameras'])} of "
          f"{summary['recording']}")
    print(f'instruction "{summary["instruction"]}", policy {summary["policy"]["name"]} '
          f"{summary['policy']['revision']}".rstrip())
    for note in summary["notes"]:
        print(f"note: {note}")
    print(f"\n{'variant':<24}{'p50 ms':>8}{'p95 ms':>8}{'tokens':>8}{'full steps':>12}")
    for name, figures in summary["variants"].items():
        latency, share = figures["latency_ms"], figures["recomputed_fraction"]
        cells = [f"{value:.1f}" if value is not None else "" for value in
                 (latency["p50"], latency["p95"])]
        cells.append("" if share is None else f"{share:.0%}")
        print(f"{name:<24}{cells[0]:>8}{cells[1]:>8}{cells[2]:>8}{figures['full_steps']:>12}")
    for gap in summary["differences"]:
        _print_difference(gap)


def _print_difference(gap: Mapping[str, Any]) -> None:
    print(f"\n{gap['ours']} against {gap['base']}: {gap['equal_actions']} of {gap['steps']} "
          f"actions equal; {gap['gripper_flips']} gripper flips")
    print("  " + "".join(f"{axis:>13}" for axis in AXES))
    for row in ("max", "mean"):
        cells = []
        for axis in AXES:
            unit, scale = _UNITS.get(axis, ("", 1.0))
            cells.append(f"{gap[row][axis] * scale:.2f} {unit}".strip())
        print("  " + "".join(f"{cell:>13}" for cell in cells) + f"   {row}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros replay",
        description="Step a policy through the camera frames of a recording, without ROS, under "
        "one or more selectors, by the rules of the node; report how their actions differ. The "
        "recording is not changed.",
    )
    parser.add_argument("recording", type=Path,
                        help="bag folder, .mcap or .db3 file, folder of pictures, or LeRobot "
                        "dataset (v3)")
    add_selection_arguments(parser)
    add_file_argument(parser)
    parser.add_argument("--compare", action="append", default=[], metavar="SELECTOR",
                        help="another selector on the same frames; may be repeated")
    parser.add_argument("--image-topic", action="append", default=[], metavar="TOPIC",
                        help="once per camera view; not needed where the bag has just one")
    parser.add_argument("--instruction", default="", help="instead of the recorded instruction")
    parser.add_argument("--instruction-topic", default="", metavar="TOPIC",
                        help="std_msgs/String topic; default: the one called instruction")
    parser.add_argument("--episode", type=int, metavar="N",
                        help=f"of a LeRobot dataset (default: {EPISODE})")
    parser.add_argument("--rate", type=float, metavar="HZ",
                        help=f"of a folder of pictures (default: {RATE_HZ})")
    parser.add_argument("--start", type=float, metavar="S", help="s from the beginning")
    parser.add_argument("--end", type=float, metavar="S", help="s from the beginning")
    parser.add_argument("--every", type=int, default=1, metavar="N",
                        help="use one image of so many (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="write a bag, replay.json and report.html there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--tolerance", action="append", default=[], metavar="NAME=X",
                        help="exit with 3 if actions differ by more: dx, ..., dyaw, gripper, "
                        "translation, rotation; in m, rad, openings")
    parser.add_argument("--base-frame", default=CommandSettings().base_frame, metavar="NAME",
                        help="frame that ee_pose was recorded in (default: %(default)s)")
    add_state_arguments(parser)
    add_load_arguments(parser)
    return parser
