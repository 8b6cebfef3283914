# SPDX-License-Identifier: Apache-2.0
"""The self-test passes what works and names what does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.models.openvla import OpenVLAPolicy, load_openvla
from vla_infoentropy_ros.selftest import SelfTestReport, main, run_selftest

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_openvla(tmp_path_factory.mktemp("selftest") / "openvla", image_size=56)


@pytest.fixture
def policy(folder: Path) -> OpenVLAPolicy:
    return load_openvla(folder, LoadOptions(unnorm_key="bridge_orig"), progress=False)


def _failed(report: SelfTestReport) -> list[str]:
    return [check.name for check in report.checks if not check.passed]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_working_checkpoint_passes_again_and_again(folder: Path, dtype: str) -> None:
    policy = load_openvla(
        folder, LoadOptions(dtype=dtype, unnorm_key="bridge_orig"), progress=False
    )
    for _ in range(2):
        report = run_selftest(policy)
        assert report.passed, report.reason
        assert len(report.checks) == 10 and report.reason == ""


@pytest.mark.parametrize("gripper", ["one_is_open", "one_is_closed", "minus_one_is_open"])
def test_every_gripper_convention_passes(folder: Path, gripper: str) -> None:
    policy = load_openvla(
        folder, LoadOptions(unnorm_key="bridge_orig", gripper=gripper), progress=False
    )
    assert run_selftest(policy).passed


def test_the_embedded_policy_passes() -> None:
    report = run_selftest(load_policy("embedded"))
    assert report.passed, report.reason


def test_a_blind_policy(policy: OpenVLAPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the published code does under newer libraries: the image is ignored."""
    constant = torch.randn(16, 64)
    monkeypatch.setattr(policy, "embed_vision", lambda pixels: constant)
    report = run_selftest(policy)
    assert _failed(report) == ["image matters", "tower calls"]
    assert "does not reach the language model" in report.reason
    assert "must not move a robot" in report.table()


def test_a_tower_called_twice(policy: OpenVLAPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    once = OpenVLAPolicy.embed_vision

    def twice(self: OpenVLAPolicy, pixels: torch.Tensor) -> torch.Tensor:
        once(self, pixels)
        return once(self, pixels)

    monkeypatch.setattr(OpenVLAPolicy, "embed_vision", twice)
    report = run_selftest(policy)
    assert _failed(report) == ["tower calls"] and "its tower 4 times" in report.reason


def test_weights_that_overflow(policy: OpenVLAPolicy) -> None:
    policy.model.projector.fc3.bias[0] = float("inf")
    report = run_selftest(policy)
    assert _failed(report) == ["vision"] and "NaN or infinity" in report.reason


def test_statistics_in_other_units(policy: OpenVLAPolicy) -> None:
    policy.stats.q99[:3] = 20.0
    report = run_selftest(policy)
    assert _failed(report) == ["action"] and "units" in report.reason


def test_a_gripper_that_cannot_move(policy: OpenVLAPolicy) -> None:
    policy.stats.mask[6] = True
    policy.stats.q01[6] = policy.stats.q99[6] = 1.0
    report = run_selftest(policy)
    assert _failed(report) == ["gripper"] and "statistics fix it" in report.reason


def test_a_gripper_that_never_opens(policy: OpenVLAPolicy) -> None:
    policy.stats.mask[6] = True
    policy.stats.q99[6] = 0.08  # metres between the fingers, say
    report = run_selftest(policy)
    assert _failed(report) == ["gripper"] and "0.00..0.08" in report.reason


def test_a_missing_key(policy: OpenVLAPolicy) -> None:
    policy.norm_key = "kitchen"
    report = run_selftest(policy)
    assert _failed(report) == ["norm key"] and "bridge_orig" in report.reason


def test_a_tokenizer_of_another_checkpoint(policy: OpenVLAPolicy) -> None:
    policy.codec = SimpleNamespace(vocab_size=32000, bins=256)  # type: ignore[assignment]
    report = run_selftest(policy)
    assert _failed(report) == ["vocabulary"] and "31999" in report.reason


def test_a_policy_that_raises(policy: OpenVLAPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(policy, "preprocess", broken)
    report = run_selftest(policy)
    assert not report.passed and "RuntimeError: out of memory" in report.reason


def test_noise_in_the_vision_embedding(
    policy: OpenVLAPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0)
    monkeypatch.setattr(
        policy, "embed_vision", lambda pixels: torch.tensor(noise.normal(size=(16, 64))).float()
    )
    assert "repeatable" in _failed(run_selftest(policy))


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(folder), "--unnorm-key", "bridge_orig"]) == 0
    out = capsys.readouterr().out
    assert "pass  image matters" in out and "openvla (local-" in out
    assert main(["--model", str(folder)]) == 1
    assert "FAIL  loading" in capsys.readouterr().out
    assert main(["--model", str(folder), "--unnorm-key", "bridge_orig",
                 "--instruction", " "]) == 1


def test_command_takes_every_option(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = ["--model", str(folder), "--unnorm-key", "bridge_orig"]
    assert main([*key, "--gripper", "minus_one_is_open", "--trained-rotation", "axis_angle",
                 "--crop", "centre_0.9_area", "--image-rotation", "half_turn",
                 "--control-period-s", "0.1", "--dtype", "bfloat16"]) == 0
    assert "as minus_one_is_open" in capsys.readouterr().out
    assert main([*key, "--crop", "half"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  loading  crop='half' is not among '', 'none', 'centre_0.9_area'" in out
