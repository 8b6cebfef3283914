# SPDX-License-Identifier: Apache-2.0
"""The self-test passes what works and names what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from test.models.tiny_openvla import write_tiny_openvla
from test.trees import SOURCE
from vla_infoentropy_ros.engine.heads import TokenHead
from vla_infoentropy_ros.models.adapter import PolicyError
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
        assert len(report.checks) == 15 and report.reason == ""


@pytest.mark.parametrize("gripper", ["one_is_open", "one_is_closed", "minus_one_is_open"])
def test_every_gripper_convention_passes(folder: Path, gripper: str) -> None:
    policy = load_openvla(
        folder, LoadOptions(unnorm_key="bridge_orig", gripper=gripper), progress=False
    )
    assert run_selftest(policy).passed


def test_the_embedded_policy_passes() -> None:
    report = run_selftest(load_policy("embedded"))
    assert report.passed, report.reason


@pytest.mark.parametrize(("model", "more", "passes"), [
    ("Llama", {}, True), ("Qwen2", {}, True), ("Mistral", {"sliding_window": None}, True),
    ("Mistral", {"sliding_window": 8}, False), ("Qwen3", {}, False), ("Granite", {}, False),
])
def test_a_backbone_that_is_more_than_a_llama_is_not_run_as_one(
    model: str, more: dict[str, Any], passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SOURCE / "examples"))
    import own_model
    import transformers

    policy = own_model.OwnPolicy()
    config = getattr(transformers, f"{model}Config")(
        vocab_size=own_model.LETTERS + own_model.BINS, hidden_size=64, intermediate_size=96,
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, pad_token_id=0,
        initializer_range=0.3, **more, **({"head_dim": 16} if model == "Qwen3" else {}),
        **({"residual_multiplier": 0.2} if model == "Granite" else {}))
    torch.manual_seed(0)
    policy.decoder = getattr(transformers, f"{model}ForCausalLM")(config).eval()
    policy.decoder.requires_grad_(False)
    policy.backbone = policy.decoder.model
    policy.head = TokenHead(policy.decoder.lm_head, 7)
    found = {check.name: check for check in run_selftest(policy).checks}
    assert found["layers"].passed == passes, found["layers"].reason
    if not passes:
        assert "more than a Llama's" in found["layers"].reason


def test_a_blind_policy(policy: OpenVLAPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the published code does under newer libraries: the image is ignored."""
    constant = torch.randn(16, 64)
    monkeypatch.setattr(policy, "embed_vision", lambda pixels: constant)
    report = run_selftest(policy)
    assert _failed(report) == ["image matters", "tower calls"]
    assert "does not reach the language model" in report.reason
    assert "must not move a robot" in report.table()


def test_a_deaf_policy(policy: OpenVLAPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is said, it hears the same words."""
    heard = policy.tokenize("pick up the red block")
    monkeypatch.setattr(policy, "tokenize", lambda text: heard if text.strip() else _nothing())
    report = run_selftest(policy)
    assert _failed(report) == ["instruction matters"]
    assert "the instruction does not reach the language model" in report.reason


def _nothing() -> Any:
    raise PolicyError("no instruction")


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
    assert _failed(report) == ["action"] and "looks like millimetres" in report.reason


def _with_statistics(folder: Path, tmp_path: Path, **changes: dict[int, float]) -> Path:
    """A copy whose statistics differ: changes maps a name to values by axis."""
    copy = Path(shutil.copytree(folder, tmp_path / "changed"))
    config = json.loads((copy / "config.json").read_text())
    action = config["norm_stats"]["bridge_orig"]["action"]
    for name, values in changes.items():
        action.setdefault(name, [0.5] * 7)
        for axis, value in values.items():
            action[name][axis] = value
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def _report(folder: Path, **options: Any) -> SelfTestReport:
    policy = load_openvla(folder, LoadOptions(unnorm_key="bridge_orig", **options), progress=False)
    return run_selftest(policy)


@pytest.mark.parametrize(("changes", "check", "words"), [
    ({"q01": {0: 0.31}, "q99": {0: 0.44}}, "increments",
     "x runs from 0.31 to 0.44 m, never 0, so the arm cannot stand still; this looks like absol"),
    ({"q01": {2: -0.3}, "q99": {2: -0.1}}, "increments", "looks like absolute poses"),
    ({"q01": {5: 0.1}, "q99": {5: 0.4}}, "increments", "yaw runs from"),
    ({"q01": {1: 0.01}, "q99": {1: 0.01}}, "increments", "y is always 0.01 m and moves by it"),
    ({"q01": {1: 0.0}, "q99": {1: 0.0}}, "increments", "y is always 0 m and cannot move"),
    ({"q01": {4: 0.0}, "q99": {4: 0.0}}, "increments", "axis that was not recorded"),
    ({"q01": dict.fromkeys((3, 4, 5), 0.2), "q99": dict.fromkeys((3, 4, 5), 0.2)}, "increments",
     "roll is always 0.2 rad"),
    ({"q01": {3: -2.0}, "q99": {3: 2.0}}, "action", "looks like degrees or absolute angles"),
    ({"q01": {3: -3.14}, "q99": {3: 3.14}}, "action", "looks like degrees or absolute angles"),
    ({"q01": {0: -20.0}, "q99": {0: 20.0}}, "action", "looks like millimetres"),
    ({"q01": {0: -1.0}, "q99": {0: 1.0}}, "action", "a controller's inputs"),
    ({"q01": {6: -1.0}}, "gripper", "from -1 to 1"),
    ({"min": {6: -1.0}}, "gripper", "looks like -1 and 1, or three states"),
    ({"q99": {6: 84.0}}, "gripper", "a width or an angle"),
])
def test_statistics_of_another_kind(
    folder: Path, tmp_path: Path, changes: dict, check: str, words: str
) -> None:
    """Each is finite and, where it can be, no larger than real increments are."""
    report = _report(_with_statistics(folder, tmp_path, **changes))
    assert _failed(report) == [check] and words in report.reason, report.reason


def test_a_gripper_of_more_states_than_its_convention(folder: Path, tmp_path: Path) -> None:
    width = {"mean": {6: 0.5}, "std": {6: 0.2}}  # of 0 and 1 it would be 0.5
    copy = _with_statistics(folder, tmp_path, **width)
    report = _report(copy, gripper="minus_one_is_open")
    assert _failed(report) == ["gripper"] and "more states than open and closed" in report.reason
    assert _report(copy, gripper="one_is_open").passed, "which can be half open"


# Quantiles, mean and deviation of openvla-7b's config.json, rounded.
BRIDGE = {
    "q01": [-0.0287, -0.0417, -0.0261, -0.0809, -0.0929, -0.2072, 0.0],
    "q99": [0.0283, 0.0409, 0.0402, 0.0819, 0.0779, 0.2038, 1.0],
    "mean": [0.0002, 0.0001, -0.0001, -0.0002, -0.0004, 0.0002, 0.5765],
    "std": [0.0098, 0.0137, 0.0127, 0.0285, 0.0306, 0.0769, 0.4974],
}
FRACTAL = {
    "q01": [-0.2245, -0.1482, -0.2316, -0.3518, -0.4193, -0.4364, 0.0],
    "q99": [0.1782, 0.1494, 0.2184, 0.588, 0.3525, 0.4476, 1.0],
}


@pytest.mark.parametrize(("key", "stats"), [
    ("bridge_orig", BRIDGE), ("fractal20220817_data", FRACTAL), ("jaco_play", BRIDGE),
])
@pytest.mark.parametrize("gripper", ["one_is_open", "minus_one_is_open"])
def test_published_statistics_pass(tmp_path: Path, key: str, stats: dict, gripper: str) -> None:
    folder = write_tiny_openvla(tmp_path, image_size=56, norm_keys=(key,))
    config = json.loads((folder / "config.json").read_text())
    action = stats | {"mask": [True] * 6 + [False]}
    if key == "jaco_play":  # three degrees of freedom
        for name in stats:
            action[name] = [*stats[name][:3], 0.0, 0.0, 0.0, stats[name][6]]
    config["norm_stats"][key]["action"] = action
    (folder / "config.json").write_text(json.dumps(config))
    report = run_selftest(load_openvla(folder, LoadOptions(gripper=gripper), progress=False))
    assert report.passed, report.reason


def test_what_was_assumed_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tiny_openvla(tmp_path, image_size=56, dataset_statistics=True)
    assert main(["--model", str(folder)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "warn training set assumed for unnorm_key my_robot" in told
    assert main(["--model", str(folder), "--control-period-s", "0.2", "--action-units", "si",
                 "--trained-rotation", "rpy", "--crop", "none"]) == 0
    assert "warn" not in capsys.readouterr().out


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
    assert "pass  image matters" in out and "openvla (sha256-" in out
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
