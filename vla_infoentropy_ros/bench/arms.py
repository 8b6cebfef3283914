# SPDX-License-Identifier: Apache-2.0
"""Episodes with an arm at the end: stand-ins of arms, by ``servo.launch.xml`` as on a robot.

Limits of speed, acceleration and workspace are those of the launch file and its preset. Time stands
still while the policy thinks; only the time-outs that the wall clock measures allow for a busy
machine. Paired: every variant on every seed. With ``--log`` a run that ended early goes on where it
stood.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vla_infoentropy_ros import episode_log
from vla_infoentropy_ros.arms.models import ARMS
from vla_infoentropy_ros.demo.cli import FIRST_SEED, count
from vla_infoentropy_ros.demo.domain import DomainClaim
from vla_infoentropy_ros.demo.launching import Launch, launch_command
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.report.machine import hardware, versions
from vla_infoentropy_ros.report.statistics import latencies
from vla_infoentropy_ros.share import share_directory
from vla_infoentropy_ros.success_rates import wilson_interval
from vla_infoentropy_ros.variants import Variant

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


@dataclass(frozen=True)
class Outcome:
    """A finished episode. revision: of the policy's weights. latencies_ms: of each policy step."""

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

    @property
    def key(self) -> Key:
        """What makes an episode the same one."""
        return self.arm, self.controller, self.variant, self.seed


def main(argv: Sequence[str]) -> int:
    """Run what is missing, print a table, and write it as JSON where asked."""
    options = _parser().parse_args(argv)
    machine = {"hardware": hardware(), "versions": versions()}  # the load before ours
    revision = load_policy().revision
    played = {each.key: each for each in
              episode_log.of_policy(options.log, lambda line: Outcome(**line), revision)}
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
                  f" {low:6.2f} {high:6.2f} {row['median_steps']:>6} {row['median_ms']:6.0f}")
    if options.json:
        command = (f"python -m vla_infoentropy_ros bench arms --controller {options.controller}"
                   f" --episodes {options.episodes}")
        record = {"command": command, **machine, "seed": options.seed,
                  "controller": options.controller, "arms": table}
        Path(options.json).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


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
    parser.add_argument("--variants", nargs="+", type=_variant, default=list(VARIANTS),
                        metavar="VARIANT", help="selectors, with +window if so wanted")
    parser.add_argument("--episodes", type=count, default=10, help="scenes, each by every variant")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="first scene")
    parser.add_argument("--log", type=Path,
                        help="append each episode to this file, and skip those in it")
    parser.add_argument("--logs", type=Path, default=logs, help="folder of what the nodes print")
    parser.add_argument("--json", metavar="FILE", help="write the table to a file as well")


def _variant(text: str) -> str:
    try:
        return str(Variant.parse(text))
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


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
    config = yaml.safe_load((share_directory() / "config" / "policy.yaml").read_text("utf-8"))
    config["/**"]["ros__parameters"] |= _PATIENT
    parameters = folder / "policy.yaml"
    parameters.write_text(yaml.safe_dump(config), encoding="utf-8")
    return parameters


def _row(episodes: Sequence[Outcome]) -> dict[str, Any]:
    won = [episode for episode in episodes if episode.success]
    steps = sorted(episode.steps for episode in won)
    times = sorted(latency for episode in episodes for latency in episode.latencies_ms)
    return {
        "successes": len(won),
        "episodes": len(episodes),
        "interval": wilson_interval(len(won), len(episodes)),
        "median_steps": steps[len(steps) // 2] if steps else 0,
        "median_ms": times[len(times) // 2] if times else float("nan"),
        "outcomes": [{name: getattr(episode, name) for name in _TOLD} for episode in episodes],
    }
