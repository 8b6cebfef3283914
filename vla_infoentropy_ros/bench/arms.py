# SPDX-License-Identifier: Apache-2.0
"""Episodes with an arm at the end: stand-ins of arms, by ``servo.launch.xml`` as on a robot.

Limits of speed, acceleration and workspace are those of the launch file and its preset. Time stands
still while the policy thinks; only the time-outs that the wall clock measures allow for a busy
machine. Paired: every variant on every seed. With ``--log`` a run that ended early goes on where it
stood.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vla_infoentropy_ros import episode_log
from vla_infoentropy_ros.argument_types import count, keep_apart, out_file, seed
from vla_infoentropy_ros.arms.models import ARMS
from vla_infoentropy_ros.bench import record
from vla_infoentropy_ros.bench.arguments import variant_name
from vla_infoentropy_ros.demo.cli import FIRST_SEED
from vla_infoentropy_ros.demo.domain import DomainClaim
from vla_infoentropy_ros.demo.launching import Launch, launch_command
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.report.statistics import latencies
from vla_infoentropy_ros.selection.settings import SelectionSettings
from vla_infoentropy_ros.share import share_directory
from vla_infoentropy_ros.success_rates import wilson_interval

if TYPE_CHECKING:
    from vla_infoentropy_ros.nodes.clients.episode_client import EpisodeClient

VARIANTS = ("dense", "attention_drift+window")
_PATIENT = {
    "command.deadline_s": 30.0, "command.camera_timeout_s": 30.0,
    "command.max_observation_age_s": 5.0, "command.pose_timeout_s": 30.0,
}  # fmt: skip
_PRESETS = {"ur5": "ur5e"}
"""Of an arm that has none of its own: the frames have the same names."""
_NODE = "servo_node"
_READY_S = 300.0
_TOLD = ("seed", "instruction", "steps", "reason")
Key = tuple[str, str, str, int]
"""Arm, controller, variant and seed."""


@cache
def settings_here() -> str:
    """The policy node's parameters, defaults of this version included, as a digest: with others the
    same variant is another."""
    here = asdict(SelectionSettings()) | _patient()["/**"]["ros__parameters"]
    return hashlib.sha256(json.dumps(here, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Outcome:
    """A finished episode. revision: of the policy's weights. latencies_ms: of each policy step.
    settings: `settings_here`, "" of a log that does not say."""

    arm: str
    controller: str
    variant: str
    seed: int
    revision: str
    instruction: str
    success: bool
    steps: int
    reason: str
    latencies_ms: Sequence[float]
    settings: str = field(default_factory=settings_here, kw_only=True)

    @property
    def key(self) -> Key:
        """What makes an episode the same one."""
        return self.arm, self.controller, self.variant, self.seed


def main(argv: Sequence[str]) -> int:
    """Run what is missing, print a table, and write it as JSON where asked."""
    parser = _parser()
    options = parser.parse_args(argv)
    keep_apart(parser, options, "log", "json")
    machine = record.machine()
    revision = load_policy().revision
    played = {each.key: each for each in episode_log.of_policy(
        options.log, lambda line: Outcome(**{"settings": ""} | line), revision)
        if each.settings in ("", settings_here())}
    for arm in options.arms:
        for outcome in run_arm(arm, options, played, revision):
            played[outcome.key] = outcome
            episode_log.add(options.log, asdict(outcome))
            print(f"{arm} {outcome.variant} {outcome.seed}: {outcome.reason}, "
                  f"{outcome.steps} steps", file=sys.stderr)
    table = {arm: {variant: _row([played[arm, options.controller, variant, seed]
                                  for seed in _seeds(options)])
                   for variant in options.variants} for arm in options.arms}
    print(f"{'':32} {'success':>9} {'95 %':>13} {'steps':>6} {'ms':>6}")
    for arm, rows in table.items():
        for variant, row in rows.items():
            low, high = row["interval"]
            print(f"{arm + ' ' + variant:32} {row['successes']:>4} of {row['episodes']:<2}"
                  f" {low:6.2f} {high:6.2f} {told(row['median_steps']):>6}"
                  f" {told(row['median_ms']):>6}")
    command = (f"python -m vla_infoentropy_ros bench arms --controller {options.controller}"
               f" --episodes {options.episodes}")
    record.write(options.json, {"command": command, **machine, "seed": options.seed,
                                "controller": options.controller, "arms": table})
    return 0


def median(values: Sequence[float]) -> float | None:
    """None of none."""
    return statistics.median(values) if values else None


def told(value: float | None) -> str:
    """In a table."""
    return "-" if value is None else f"{value:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros bench arms", description=__doc__
    )
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["panda", "ur5"])
    parser.add_argument("--controller", choices=("twist", "trajectory"), default="twist",
                        help="MoveIt Servo's rules, or joint_trajectory_controller's")
    add_episode_arguments(parser, Path("out/arms"))
    return parser


def add_episode_arguments(parser: argparse.ArgumentParser, logs: Path) -> None:
    """Which episodes, and where what comes of them goes. logs: what ``--logs`` is by default."""
    parser.add_argument("--variants", nargs="+", type=variant_name, default=list(VARIANTS),
                        metavar="VARIANT", help="selectors, with +window if so wanted")
    parser.add_argument("--episodes", type=count, default=10, help="scenes, each by every variant")
    parser.add_argument("--seed", type=seed, default=FIRST_SEED, help="first scene")
    parser.add_argument("--log", type=out_file,
                        help="append each episode to this file, and skip those in it")
    parser.add_argument("--logs", type=Path, default=logs, help="folder of what the nodes print")
    parser.add_argument("--json", type=out_file, metavar="FILE",
                        help="write the table to a file as well")


def _seeds(options: argparse.Namespace) -> range:
    return range(options.seed, options.seed + options.episodes)


def run_arm(
    arm: str, options: argparse.Namespace, played: Mapping[Key, Outcome], revision: str
) -> Iterator[Outcome]:
    """All variants on all seeds with one arm, in turn, without those that are in ``played``.

    Raises GraphError, NodeDiedError.
    """
    variants = options.variants
    left = [
        (variant, seed)
        for index, seed in enumerate(_seeds(options))
        for variant in (*variants[index % len(variants) :], *variants[: index % len(variants)])
        if (arm, options.controller, variant, seed) not in played
    ]
    if not left:
        return
    from vla_infoentropy_ros.demo.measuring import faulty, run_episode

    with _started(arm, options) as client:
        for variant, seed in left:
            episode = run_episode(client, variant, seed)
            yield Outcome(
                arm, options.controller, variant, seed, revision, episode.instruction,
                episode.success, episode.steps, episode.reason,
                [round(latency, 1) for latency in latencies([episode])],
            )  # fmt: skip
            if faulty(episode):
                client.clear_fault()


@contextmanager
def _started(arm: str, options: argparse.Namespace) -> Iterator[EpisodeClient]:
    """An arm and the policy, ready, on a domain of their own."""
    from vla_infoentropy_ros.nodes.clients.episode_client import EpisodeClient
    from vla_infoentropy_ros.nodes.middleware import local_environment

    os.environ |= local_environment()
    with DomainClaim() as claim, tempfile.TemporaryDirectory() as folder:
        here = {"ROS_DOMAIN_ID": str(claim.domain)}
        robot, policy = (
            Launch(launch_command(arguments, name), options.logs / f"{arm}_{name}.log", here)
            for name, arguments in _launches(arm, options.controller, Path(folder)).items()
        )

        def check() -> None:
            robot.check()
            policy.check()

        with robot, policy, EpisodeClient(claim.domain, check, sim=_NODE) as client:
            client.wait_until_ready(_READY_S)
            yield client


def _launches(arm: str, controller: str, folder: Path) -> dict[str, dict[str, str]]:
    """Arguments by launch file: the robot's and the policy's."""
    return {
        "arm": {"arm": arm, "controller": controller, "episodes": "0", "enable_policy": "true"},
        "servo": {
            "robot": _PRESETS.get(arm, arm), "servo": f"/{_NODE}", "output": controller,
            "model": "embedded", "device": "cpu", "dtype": "float32", "use_sim_time": "true",
            "dry_run": "false", "params_file": str(patient_parameters(folder)),
        },
    }  # fmt: skip


def patient_parameters(folder: Path) -> Path:
    """policy.yaml, written to ``folder``, with time-outs of the wall that suit a busy machine."""
    parameters = folder / "policy.yaml"
    parameters.write_text(yaml.safe_dump(_patient()), encoding="utf-8")
    return parameters


def _patient() -> dict[str, Any]:
    config = yaml.safe_load((share_directory() / "config" / "policy.yaml").read_text("utf-8"))
    config["/**"]["ros__parameters"] |= _PATIENT
    return dict(config)


def _row(episodes: Sequence[Outcome]) -> dict[str, Any]:
    won = [episode for episode in episodes if episode.success]
    return {
        "successes": len(won),
        "episodes": len(episodes),
        "interval": wilson_interval(len(won), len(episodes)),
        "median_steps": median([episode.steps for episode in won]),
        "median_ms": median([each for episode in episodes for each in episode.latencies_ms]),
        "outcomes": [{name: getattr(episode, name) for name in _TOLD} for episode in episodes],
    }
