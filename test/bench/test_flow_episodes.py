# SPDX-License-Identifier: Apache-2.0
"""`bench episodes` with a policy that acts by flow: rows that fit, chunks, what is refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from test.models.tiny_flow import tiny_flow_config
from test.models.tiny_smolvla import write_tiny_smolvla
from vla_infoentropy_ros.bench import episodes, flow, steps
from vla_infoentropy_ros.models.embedded import Architecture, PolicyConfig
from vla_infoentropy_ros.models.embedded.flow_policy import EmbeddedFlowPolicy
from vla_infoentropy_ros.models.embedded.weights_file import write_weights
from vla_infoentropy_ros.models.load_options import LoadOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An untrained flow policy that knows the tabletop's words."""
    tiny = tiny_flow_config()
    words = ("put", "the", "cube", "on", "plate", "red", "green", "blue", "yellow", "white",
             "orange", "purple", "cyan")
    config = PolicyConfig(
        tiny.revision, Architecture(**{**vars(tiny.architecture), "image_size": 224}), words,
        tiny.norm_stats, tiny.norm_key, tiny.camera, flow=tiny.flow,
    )
    (tmp_path / "policy.json").write_text(config.dump())
    policy = EmbeddedFlowPolicy(config)
    write_weights(tmp_path / "policy.safetensors", policy.network, config.revision)
    return tmp_path


def test_a_flow_policy_plays_and_chunks_need_fewer_plans(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(episodes.Tabletop, "max_steps", 4)
    plans: list[int] = []
    job = episodes.Job(
        "everything every 2nd step", 1_000_000, str(folder), LoadOptions(), execute=3)
    episodes._tables.clear()
    step = episodes.Session.step
    monkeypatch.setattr(
        episodes.Session, "step", lambda *args: plans.append(1) or step(*args)
    )
    try:
        solved, steps, fresh, passes = episodes._play(job)
    finally:
        episodes._tables.pop("table").close()
        episodes._tables.clear()
    assert (solved, steps, len(plans)) == (0, 4, 2)
    assert fresh == 0.0  # the second plan keeps what the first left
    assert passes == 5.0  # the prompt once, and four Euler steps


def test_rows_that_do_not_fit_are_left_out_or_refused_by_name(folder: Path) -> None:
    model = ["--model", str(folder)]
    policy = episodes.load_for_tabletop(episodes._parser().parse_args(model))
    fitting = [name for name, row in episodes.ROWS.items() if not episodes._misfit(row, policy)]
    assert "attention_drift 48" in fitting and "everything every 3rd step" in fitting
    assert "vla_pruner 128" not in fitting
    with pytest.raises(SystemExit, match=r"row 'fastv 128'.*hides tokens"):
        episodes.main([*model, "--rows", "fastv 128"])
    with pytest.raises(SystemExit, match=r"--execute 4: must be in 1\.\.3"):
        episodes.main([*model, "--execute", "4"])


@pytest.mark.parametrize("bench", [episodes, flow, steps])
def test_what_the_tabletop_cannot_give_is_told_before_it_plays(
    bench: ModuleType, tmp_path: Path
) -> None:
    loading = ["--action-units", "si", "--trained-rotation", "rpy", "--control-period-s", "0.2"]
    checkpoint = write_tiny_smolvla(tmp_path / "tiny")
    with pytest.raises(SystemExit, match=r"smolvla takes 2 picture\(s\) and the robot's state, and "
                                         r"the tabletop gives one"):
        bench.main(["--model", str(checkpoint), *loading])


def test_a_policy_of_tokens_has_chunks_of_one(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--execute 2: must be in 1\.\.1"):
        episodes.main(["--execute", "2", "--out", str(tmp_path / "x.json")])
    assert not (tmp_path / "x.json").exists()
