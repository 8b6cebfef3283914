# SPDX-License-Identifier: Apache-2.0
"""What is read of a running Gazebo, and what is made of it; no Gazebo in here."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from vla_infoentropy_ros.bench import gazebo, gazebo_stops
from vla_infoentropy_ros.bench.gazebo import Outcome, paced
from vla_infoentropy_ros.bench.gazebo_truth import GazeboTruth, Poses, parse, stopped_s
from vla_infoentropy_ros.episode_log import EpisodeLogError
from vla_infoentropy_ros.sim.scene import CUBE_HALF, FINGER_OPEN, PLATE_HEIGHT
from vla_infoentropy_ros.sim.tasks import sample_task

SEED = 1_000_000


def pose(name: str, x: float, y: float, z: float, yaw: float = 0.0) -> str:
    """As protobuf's text format has it, in which what is zero is left out."""
    numbers = "\n".join(
        f"    {axis}: {value}" for axis, value in zip("xyz", (x, y, z), strict=True) if value
    )
    turn = f"    z: {math.sin(yaw / 2)}\n" if yaw else ""
    return (
        f'pose {{\n  name: "{name}"\n  id: 9\n  position {{\n{numbers}\n  }}\n'
        f"  orientation {{\n{turn}    w: {math.cos(yaw / 2)}\n  }}\n}}\n"
    )


def message(*poses: str, nsec: int = 500_000_000) -> str:
    return f"header {{\n  stamp {{\n    sec: 3\n    nsec: {nsec}\n  }}\n}}\n{''.join(poses)}\n"


def read(text: str) -> list[Poses]:
    return list(parse(text.splitlines(keepends=True)))


def test_poses_are_read_from_what_gazebo_prints() -> None:
    first, second = read(
        message(pose("hand", 0.45, 0.0, 0.16, 0.5), pose("cube_red", -0.4, 1e-5, 0.022))
        + message(pose("hand", 0.46, 0.0, 0.16), nsec=0)
    )
    assert first.time_s == 3.5 and second.time_s == 3.0
    np.testing.assert_allclose(first.hand, [0.45, 0.0, 0.16])
    assert first.turns["hand"] == pytest.approx(0.5) and first.turns["cube_red"] == 0.0
    assert first.places["cube_red"] == (-0.4, 1e-5, 0.022)
    assert second.places.keys() == {"hand"}


def test_a_message_that_is_cut_off_is_none() -> None:
    assert read(message(pose("hand", 1.0, 2.0, 3.0)).rstrip("\n")) == []


def test_success_is_judged_as_in_the_embedded_simulator() -> None:
    task, layout = sample_task(SEED)
    x, y = layout.plates[task.goal.plate]

    def placed(height: float) -> bool:
        cubes = [pose(f"cube_{colour}", 0.4, 0.1, CUBE_HALF) for colour in layout.cubes
                 if colour != task.goal.cube]  # fmt: skip
        side = FINGER_OPEN + 0.006
        (poses,) = read(message(
            pose("hand", 0.5, 0.0, 0.16), pose("finger_left_link", 0.5, side, 0.16),
            pose("finger_right_link", 0.5, -side, 0.16),
            pose(f"cube_{task.goal.cube}", x, y, height), *cubes,
        ))  # fmt: skip
        state = poses.state(layout)
        assert state.gap == pytest.approx(FINGER_OPEN)
        return state.placed(task.goal)

    assert placed(PLATE_HEIGHT + CUBE_HALF) and not placed(PLATE_HEIGHT + CUBE_HALF + 0.05)


def at(time_s: float, x: float) -> Poses:
    """A hand that is heard of at a pace of 0.2."""
    return Poses(time_s, 100.0 + time_s / 0.2, {"hand": (x, 0.0, 0.1)}, {"hand": 0.0})


def test_when_the_hand_stood_and_how_far_it_came() -> None:
    moving = [at(0.02 * tick, 0.4 + 0.002 * min(tick, 10)) for tick in range(100)]
    stood_s, way_m = stopped_s(moving, from_s=100.5)
    assert stood_s == pytest.approx(0.08, abs=0.021) and way_m == pytest.approx(0.010)
    with pytest.raises(ValueError, match="nothing was heard"):
        stopped_s(moving, from_s=1000.0)


def test_a_hand_that_never_stands_stood_at_the_end_at_the_earliest() -> None:
    stood_s, _ = stopped_s([at(0.02 * tick, 0.002 * tick) for tick in range(50)], from_s=100.0)
    assert stood_s == pytest.approx(0.98)


@pytest.mark.parametrize("between_s", [0.02, 0.0004])
def test_the_speed_of_a_hand_however_slow_the_simulation(between_s) -> None:
    truth = GazeboTruth.__new__(GazeboTruth)
    truth.poses = [at(between_s * tick, 0.1 * between_s * tick) for tick in range(1000)]
    assert truth.speed == pytest.approx(0.1)


def test_the_launch_is_stopped_and_one_node_is_killed(monkeypatch) -> None:
    sent = []
    monkeypatch.setattr(gazebo_stops.os, "kill", lambda pid, number: sent.append((pid, number)))
    lines = (
        "python -m vla_infoentropy_ros.launch_runner gazebo.launch.xml",
        "parameter_bridge --params-file /tmp/launch_runner_1/parameters.yaml",
        "python -m start_node gantry_node --params-file /tmp/launch_runner_1/parameters.yaml",
    )
    launch = SimpleNamespace(processes=lambda: dict(enumerate(lines)))
    gazebo_stops._kill(SimpleNamespace(launch=launch), "start_node gantry_node")
    assert sent == [(0, signal.SIGSTOP), (2, signal.SIGKILL)]


def test_the_pace_lets_a_step_take_a_control_period() -> None:
    outcome = Outcome("dense", SEED, 16.0, "a", "", "success", 40, 8.0, 800.0, 0.5, (), ())
    assert paced(outcome) == pytest.approx(0.2)
    assert paced(replace(outcome, latency_ms=1.0)) == 1.0
    assert paced(replace(outcome, latency_ms=0.0)) == 0.5, "nothing was learnt"


def test_a_run_that_was_cut_off_goes_on_at_the_pace_it_had(monkeypatch, tmp_path) -> None:
    played = []

    def episode(variant, seed, pace, options, revision):
        if len(played) == 1:
            played.append("cut off")
            raise RuntimeError
        played.append((variant, seed, pace))
        return Outcome(variant, seed, options.limit, revision, "", "success", 40, 8.0, 800.0,
                       pace, (), ())

    shipped = SimpleNamespace(revision="a")
    monkeypatch.setattr(gazebo, "load_policy", lambda: shipped)
    monkeypatch.setattr(gazebo, "run_episode", episode)
    options = SimpleNamespace(log=tmp_path / "log", variants=["dense", "stale"], pace=0.5,
                              seed=0, episodes=2, limit=16.0)
    with pytest.raises(RuntimeError):
        list(gazebo._episodes(options))
    *_, whole = gazebo._episodes(options)
    slower = pytest.approx(0.2)
    assert played == [("dense", 0, 0.5), "cut off", ("stale", 0, 0.5), ("dense", 1, slower),
                      ("stale", 1, slower)]
    assert [each.seed for each in whole["dense"]] == [0, 1]
    options.limit = 30.0
    list(gazebo._episodes(options))
    assert len(played) == 9, "episodes of another limit are others"
    options.log.write_text(options.log.read_text().replace(gazebo.settings_here(), "other"))
    list(gazebo._episodes(options))
    assert len(played) == 13, "and of other settings"
    shipped.revision = "b"
    with pytest.raises(EpisodeLogError, match="holds episodes of the policy a, this is b"):
        list(gazebo._episodes(options))


def test_no_success_has_no_median() -> None:
    lost = Outcome("dense", SEED, 16.0, "a", "", "time_limit", 40, 8.0, 800.0, 0.5, (), ())
    assert gazebo._row([lost])["median_s"] is gazebo._row([lost])["median_steps"] is None
    won = [replace(lost, reason="success", steps=steps) for steps in (10, 21)]
    assert gazebo._row([lost, *won])["median_steps"] == 15.5


class TestWorkspace:
    LOW, HIGH = np.zeros(3), np.full(3, 0.1)

    def kept(self, *x: float, fault: str = "") -> dict:
        hands = np.full((len(x), 3), 0.05)
        hands[:, 0] = x
        return gazebo_stops._kept(hands, self.LOW, self.HIGH, fault)

    def test_how_far_the_hand_left_its_box(self) -> None:
        assert self.kept(0.05, 0.1002, 0.09)["beyond_m"] == pytest.approx(0.0002)
        assert self.kept(0.05, 0.003)["beyond_m"] == 0.0

    def test_a_hand_that_nothing_had_to_hold_is_no_proof(self) -> None:
        with pytest.raises(RuntimeError, match=r"stayed 0\.020 m within"):
            self.kept(0.05, 0.02)
        with pytest.raises(RuntimeError, match=r"a fault stopped the hand, .*: stale_state"):
            self.kept(0.05, 0.1, fault="stale_state: ee_pose never arrived")
