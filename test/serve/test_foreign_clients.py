# SPDX-License-Identifier: Apache-2.0
"""Clients that nobody here wrote: vla-eval's own runner, and a robot's OpenVLA client."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect

from test.serve.conftest import Make
from test.serve.test_vla_eval import alone, ask, picture
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.models.adapter import ActionConvention
from vla_infoentropy_ros.serve.actions import ActionForm

STEPS = 4


def test_vla_evals_runner_plays_an_episode(make: Make, policy: TinyPolicy) -> None:
    pytest.importorskip("vla_eval", reason="vla-eval is not installed")
    from vla_eval.benchmarks.base import StepBenchmark, StepResult
    from vla_eval.connection import Connection
    from vla_eval.runners.sync_runner import SyncEpisodeRunner

    class Pictures(StepBenchmark):
        """Random pictures; an episode ends after some steps."""

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[np.ndarray] = []

        def get_tasks(self) -> list[dict[str, Any]]:
            return [{"name": "open the box"}]

        def reset(self, task: dict[str, Any]) -> int:
            self.seen.clear()
            return 0

        def step(self, action: dict[str, Any]) -> StepResult:
            self.seen.append(action["actions"])
            count = len(self.seen)
            return StepResult(obs=count, reward=0.0, done=count == STEPS, info={})

        def make_obs(self, raw_obs: int, task: dict[str, Any]) -> dict[str, Any]:
            return {"images": {"agentview": picture(raw_obs)}, "task_description": task["name"]}

        def check_done(self, step_result: StepResult) -> bool:
            return bool(step_result.done)

        def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
            return {"success": step_result.done}

        def get_metadata(self) -> dict[str, Any]:
            return {}

        def get_action_spec(self) -> dict[str, Any]:
            return {}

        def get_observation_spec(self) -> dict[str, Any]:
            return {}

    benchmark = Pictures()

    async def play() -> list[list[np.ndarray]]:
        played = []
        url = f"ws://127.0.0.1:{make('vla-eval').port}"
        async with Connection(url, timeout=20, max_retries=1) as link:
            for _ in range(2):
                result = await SyncEpisodeRunner().run_episode(
                    benchmark, benchmark.get_tasks()[0], link, max_steps=STEPS)
                assert result["metrics"]["success"] and result["steps"] == STEPS
                played.append(list(benchmark.seen))
        return played

    session = alone(policy)
    expected = [session.step([picture(step)]).action.values for step in range(STEPS)]
    for episode in asyncio.run(play()):
        assert np.array_equal(episode, expected)


def test_vla_evals_harness_finds_no_mismatch_with_libero(make: Make, service: Any) -> None:
    """By its own judgement of both specifications, of which it warns."""
    specs = pytest.importorskip("vla_eval.specs", reason="vla-eval is not installed")
    service.form = ActionForm("osc_pose", ActionConvention("rpy", "one_is_open", "base", 0.05))
    with connect(f"ws://127.0.0.1:{make('vla-eval').port}") as link:
        hello = ask(link, "hello", {"harness_version": "0", "protocol_version": 1})["payload"]
    action, observation = (
        {name: specs.DimSpec.from_dict(each) for name, each in hello[part].items()}
        for part in ("action_spec", "observation_spec")
    )
    libero = {"position": specs.POSITION_DELTA, "rotation": specs.ROTATION_AA,
              "gripper": specs.GRIPPER_CLOSE_POS}
    seen = {"agentview": specs.IMAGE_RGB, "language": specs.LANGUAGE}
    assert specs.check_specs(action, libero, observation, seen) == []


def test_a_robots_openvla_client_is_answered(make: Make, policy: TinyPolicy) -> None:
    client = pytest.importorskip("inspect_robots_widowx.policy",
                                 reason="inspect-robots-widowx is not installed")
    from inspect_robots.scene import Scene
    from inspect_robots.types import Observation

    robot = client.OpenVLAPolicy(
        server_url=f"http://127.0.0.1:{make('openvla').port}", endpoint="/act?session=robot",
        unnorm_key=policy.norm_key, resize_px=16, jpeg_roundtrip=False,
    )
    robot.reset(Scene(id="one", instruction="Open the box."))
    session = alone(policy)
    for step in range(STEPS):
        chunk = robot.act(Observation(images={"external_cam": picture(step)}))
        expected = session.step([picture(step)]).action.values
        assert np.array_equal(chunk.actions[0].data, expected)
