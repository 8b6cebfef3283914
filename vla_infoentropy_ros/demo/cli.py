# SPDX-License-Identifier: Apache-2.0
"""Command line of the demo: from nothing to ``out/demo`` and back to nothing running."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.argument_types import count, seed
from vla_infoentropy_ros.demo.domain import DomainClaim, DomainError
from vla_infoentropy_ros.demo.folder import FolderError, claim_folder, empty_folder
from vla_infoentropy_ros.demo.launching import (
    NAMESPACE,
    Launch,
    NodeDiedError,
    launch_command,
)
from vla_infoentropy_ros.demo.output import (
    print_files,
    print_table,
    write_outputs,
)
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.interrupting import terminable
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.report.machine import hardware, versions
from vla_infoentropy_ros.report.records import RunRecord

DEFAULT_SELECTORS = ("dense", "info_entropy", "attention_drift", "attention_drift+window")
FIRST_SEED = 1_000_000
"""Scenes from here on are never seen in training (`sim.EVALUATION_SEED`)."""
_READY_S = 180.0
_ON_TOP = ("top_up_to", "age_limit", "keyframe_every")
_READ_BY: Mapping[str, tuple[str, ...]] = {
    "dense": (),
    "info_entropy": ("form", "k1", "k2", "horizon", "schedule", "alpha", "fresh_tokens",
                     "static_cap", "static_threshold", "staleness", "patch_block",
                     "drift_threshold", "reuse_from_layer", "grey_levels", "attention_mode",
                     "temperature", "attention_layers", "words", *_ON_TOP),
    "attention_drift": ("fresh_tokens", "drift_rows", "drift_exponent", "attention_layers",
                        "schedule", "coverage", "least_tokens", *_ON_TOP),
    "random": ("fresh_tokens", "seed", *_ON_TOP),
    "stale": _ON_TOP,
}


class UsageError(UserError, ValueError):
    """An argument that cannot be used."""


def main(argv: list[str]) -> int:
    """Run the demo: 0 when all episodes ran, 1 with a reason when not, 130 after Ctrl-C."""
    options = _parser().parse_args(argv)
    try:
        with terminable():
            selectors = _selectors(options.selectors)
            return _run(options, selectors)
    except KeyboardInterrupt:
        print("\ninterrupted; all nodes are stopped", file=sys.stderr)
        return 130
    except ModuleNotFoundError:
        raise  # told by what started this
    except (UsageError, DomainError, FolderError, NodeDiedError, BagError, ImportError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"\nerror: {error.strerror}: {error.filename or options.out}; name another place "
              "with --out", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, selectors: Sequence[str]) -> int:
    claim_folder(options.out)
    from vla_infoentropy_ros.nodes.middleware import local_environment, rmw_name

    rmw = rmw_name()
    os.environ |= local_environment()
    machine = hardware()
    began_s = time.monotonic()
    seeds = range(options.seed, options.seed + options.episodes)
    arguments = {"namespace": NAMESPACE, "episodes": "0", "model": options.model,
                 "selector": "dense"}
    with DomainClaim(options.domain) as claim:
        print(f"ROS_DOMAIN_ID={claim.domain}: starting policy_node and sim_node ({rmw})",
              file=sys.stderr)
        command = launch_command(arguments)
        environment = {"ROS_DOMAIN_ID": str(claim.domain), **_spin_briefly()}
        with Launch(command, options.out / "nodes.log", environment) as launch:
            measured, facts = _measure(claim.domain, launch, selectors, seeds, options.out)
    run = RunRecord(
        middleware="rclpy",
        selectors=tuple(selectors),
        seeds=tuple(seeds),
        episodes=tuple(measured.episodes),
        shown=tuple(measured.shown),
        policy=facts["policy"],
        hardware=machine | {"GOMP_SPINCOUNT": _spin_briefly()["GOMP_SPINCOUNT"]},
        versions=versions() | {"rmw": rmw},
        settings={name: _read_by(name, facts["settings"]) for name in selectors},
        duration_s=time.monotonic() - began_s,
        notes=_notes(measured.episodes),
    )
    summary = write_outputs(options.out, run, measured.recorded)
    print_table(summary)
    print_files(options.out, summary)
    return 0


def _spin_briefly() -> dict[str, str]:
    """Threads of the policy wait by spinning, GNU OpenMP's default is for milliseconds; with all
    cores in use (simulator, policy, this process) that delays the thread they wait for."""
    return {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000")}


def _measure(
    domain: int, launch: Launch, selectors: Sequence[str], seeds: Sequence[int], out: Path
) -> tuple[Any, dict[str, Any]]:
    """The part that needs rclpy; out: loses an earlier run's results as soon as all stands."""
    from vla_infoentropy_ros.demo.measuring import measure
    from vla_infoentropy_ros.nodes.clients.episode_client import EpisodeClient, GraphError
    from vla_infoentropy_ros.selection.settings import SelectionSettings

    try:
        with EpisodeClient(domain, launch.check, NAMESPACE) as client:
            client.wait_until_ready(_READY_S)
            names = [f"selection.{knob.name}" for knob in fields(SelectionSettings)]
            values = client.policy_parameters([*names, "schedule"])
            settings = {name.removeprefix("selection."): v for name, v in values.items()}
            policy = {
                "checkpoint": client.status.checkpoint,
                "revision": client.status.revision,
                "norm_key": client.status.norm_key,
                "decode": client.status.decode,
            }
            empty_folder(out)
            return measure(client, selectors, seeds), {"settings": settings, "policy": policy}
    except GraphError as error:
        launch.check()  # a dead node is the better explanation
        raise NodeDiedError(str(error)) from error


def _read_by(selector: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a selector reads; all of them for one not listed."""
    wanted = _READ_BY.get(selector.partition("+")[0])
    return dict(settings) if wanted is None else {n: settings[n] for n in wanted if n in settings}


def _notes(episodes: Sequence[Any]) -> list[str]:
    lost = sum(max(0, e.steps - len(e.records)) for e in episodes)
    unselected = sum(not r.reasons.size for e in episodes for r in e.records)
    notes = []
    if lost:
        notes.append(f"{lost} steps have no latency: their status message was not received")
    if unselected:
        notes.append(f"{unselected} steps have no token counts: their selection was not received")
    return notes


def _selectors(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if names == DEFAULT_SELECTORS:
        return names  # known; spares loading torch here
    from vla_infoentropy_ros.knobs import SettingError
    from vla_infoentropy_ros.variants import Variant

    if not names:
        raise UsageError("--selectors names none; give one at least, such as dense")
    try:
        names = tuple(dict.fromkeys(str(Variant.parse(name)) for name in names))
    except SettingError as error:
        raise UsageError(f"--selectors: {error}") from error
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros demo",
        description="Drive a simulated arm, camera to command, with several ways to reuse the KV "
        "cache, on the same seeds; compare them and write a report.",
    )
    parser.add_argument("--episodes", type=count, default=20, metavar="N",
                        help="episodes per selector (default: %(default)s)")
    parser.add_argument("--selectors", default=",".join(DEFAULT_SELECTORS), metavar="A,B,...",
                        help="which to compare (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=FIRST_SEED, metavar="N",
                        help="first scene; from %(default)s on never seen in training")
    parser.add_argument("--model", default="embedded",
                        help="embedded, a folder with weights from `make train`, or "
                        "module:function for a policy of your own")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), metavar="FOLDER",
                        help="where the results go (default: %(default)s)")
    parser.add_argument("--domain", type=int, default=None, metavar="ID",
                        help="ROS_DOMAIN_ID to use (default: a free one)")
    return parser
