# SPDX-License-Identifier: Apache-2.0
"""The closed form against torch's counter, operation by operation, on the engine itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from test.models.tiny_openvla import write_tiny_openvla
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.bench import flops as bench
from vla_infoentropy_ros.bench import published, real_frames
from vla_infoentropy_ros.engine import heads
from vla_infoentropy_ros.engine.flops import (
    Pass,
    greedy_passes,
    measure_flops,
    papers_macs,
    prefill_rows,
    step_flops,
    window_passes,
)
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import PlanError, Pruning, Stage, TokenPlan
from vla_infoentropy_ros.engine.shape import LlamaShape
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.openvla import load_openvla
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.selection import SelectionSettings
from vla_infoentropy_ros.share import share_directory

LAYERS, VISUAL, TEXT, ACTION = 4, 16, 9, 7
PROMPT = 1 + VISUAL + TEXT


def _config(key_heads: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=key_heads, max_position_embeddings=128,
    )


def _plan(name: str) -> TokenPlan:
    fresh = torch.tensor([1, 5, 6, 15])
    if name == "dense":
        return TokenPlan.dense(VISUAL)
    if name == "flat":
        return TokenPlan.reuse(fresh, VISUAL)
    if name == "none":
        return TokenPlan.reuse(fresh[:0], VISUAL)
    every = torch.arange(VISUAL)
    return TokenPlan((Stage(0, every), Stage(1, every[::2]), Stage(3, every[::4])))


@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("name", ["dense", "flat", "none", "staged"])
@pytest.mark.parametrize("probe_layers", [(), (1, 2)])
def test_greedy_step(key_heads: int, name: str, probe_layers: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = LlamaForCausalLM(_config(key_heads)).eval()
    decoder = PartialDecoder(model.model, Layout(VISUAL, TEXT, ACTION), probe_layers)
    plan = _plan(name)

    @torch.no_grad()
    def run() -> None:
        hidden = decoder.prefill(torch.randn(1, PROMPT, 32), plan)
        heads.greedy(decoder, model.lm_head, hidden)
        if probe_layers:
            decoder.attention(ACTION - 1)

    rows = prefill_rows(plan.rows_per_layer(LAYERS), VISUAL, TEXT)
    closed = step_flops(
        _config(key_heads), rows, PROMPT, greedy_passes(PROMPT, ACTION),
        probe_rows=TEXT + ACTION - 1, probe_layers=len(probe_layers),
    )
    assert closed.total == measure_flops(run)
    assert (closed.probe > 0) == bool(probe_layers)


@pytest.mark.parametrize("name", ["dense", "staged"])
def test_window_step(name: str) -> None:
    torch.manual_seed(1)
    model = LlamaForCausalLM(_config(2)).eval()
    decoder = PartialDecoder(model.model, Layout(VISUAL, TEXT, ACTION), ())
    plan, draft = _plan(name), torch.arange(40, 40 + ACTION - 1)
    passes: list[int] = []

    @torch.no_grad()
    def run() -> None:
        sequence = torch.cat([torch.randn(1, PROMPT, 32), model.model.embed_tokens(draft)[None]], 1)
        hidden = decoder.prefill(sequence, plan)
        passes.append(heads.window(decoder, model.lm_head, hidden, draft).passes)

    measured = measure_flops(run)
    behind = TEXT + ACTION - 1
    closed = step_flops(
        _config(2), prefill_rows(plan.rows_per_layer(LAYERS), VISUAL, behind), PROMPT + ACTION - 1,
        window_passes(PROMPT, ACTION, passes[0] - 1), head_rows=ACTION,
    )
    assert closed.total == measured


def test_vision_tower_and_projector(tmp_path: Path) -> None:
    policy = load_openvla(
        write_tiny_openvla(tmp_path, image_size=56), LoadOptions(unnorm_key="bridge_orig"),
        progress=False,
    )
    pixels = policy.preprocess([np.zeros((60, 80, 3), np.uint8)]).pixels
    tower, projector = policy.config.vision_flops()
    assert measure_flops(lambda: policy.model.vision_backbone(pixels)) == tower
    assert measure_flops(lambda: policy.embed_vision(pixels)) == tower + projector


def test_papers_counter_is_its_formula() -> None:
    rows = [285, 285, 179, 101]
    assert papers_macs(rows, 4096, 11008) == sum(
        4 * n * 4096**2 + 2 * n * n * 4096 + 3 * n * 4096 * 11008 for n in rows
    )
    # With full heads, twice the papers' MACs are the true prefill FLOPs of a dense step.
    shape = LlamaShape(4096, 11008, 32, 32, 32, 128, 32064)
    assert step_flops(shape, [285] * 32, 285).prefill == 2 * papers_macs([285] * 32, 4096, 11008)


def test_results_are_integers_and_bad_shapes_are_refused() -> None:
    config = _config(2)
    shape = LlamaShape.of(config)
    config.head_dim = None  # as configurations of other families leave it
    assert LlamaShape.of(config) == shape and shape.head_width == 8
    config.head_dim = 16  # Gemma's are wider
    assert LlamaShape.of(config).head_width == 16
    assert isinstance(step_flops(shape, [5] * LAYERS, 9, [Pass(1, 10)]).total, int)
    with pytest.raises(ValueError, match="3 row counts for 4"):
        step_flops(shape, [5] * 3, 9)
    with pytest.raises(ValueError, match="kv_length=4"):
        step_flops(shape, [5] * LAYERS, 4)


def test_published_totals_are_met(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("dense", "paper_vla_cache", "paper_infoentropy")
    chosen = [word for name in names for word in ("--preset", name)]
    assert bench.main([*chosen, "--skip-check", "--recordings"]) == 0
    out = capsys.readouterr().out
    for total in ("1.864", "1.355", "1.214"):
        assert f"published {total}" in out
    assert "MISSED" not in out and "fitted:" in out and "assumed:" in out
    assert "CONTRADICTED" not in out and "(inside)" in out


def test_engine_on_the_7b_shapes_costs_what_the_closed_form_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.main(["--preset", "attention_drift_window"]) == 0
    assert " == " in capsys.readouterr().out


SHAPE = LlamaShape(4096, 11008, 32, 32, 32, 128, 32064)


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is installed, without docs/, to be changed by a test."""
    shutil.copytree(share_directory() / "config", tmp_path / "config")
    monkeypatch.setattr(bench, "share_directory", lambda: tmp_path)
    return tmp_path


def test_presets_are_those_of_the_parameter_files(share: Path) -> None:
    config = share / "config"
    known = bench.presets(SHAPE, 28, config, {})
    assert known["paper_vla_pruner"].fresh == ((0, 256), (3, 128))
    pruner = config / "paper_vla_pruner.yaml"
    pruner.write_text(pruner.read_text().replace("prune_ratio: 0.5", "prune_ratio: 0.75")
                      .replace("prune_layer: 3", "prune_layer: 5"))
    ours = config / "policy.yaml"
    ours.write_text(ours.read_text().replace("fresh_tokens: 64", "fresh_tokens: 66")
                    + "    selection.attention_layers: every_fourth\n")
    cache = config / "paper_vla_cache.yaml"
    cache.write_text(cache.read_text().replace("[2, 6, 9, 11]", "[4, 8]"))
    info = config / "paper_infoentropy.yaml"
    info.write_text(info.read_text().replace("reuse_from_layer: 2", "reuse_from_layer: 0"))
    (config / "half_drift.yaml").write_text(
        "/**:\n  ros__parameters:\n    selector: info_entropy\n    selection.fresh_tokens: 20\n")
    known = bench.presets(SHAPE, 28, config, {})
    assert known["paper_vla_pruner"].fresh == ((0, 256), (5, 64))
    assert known["paper_vla_pruner"].pruned_at == 5
    assert known["attention_drift"].fresh == known["attention_drift_window"].fresh == ((0, 66),)
    assert [layer for layer, _ in known["paper_vla_cache"].fresh] == [0, 4, 8]
    assert [layer for layer, _ in known["paper_infoentropy"].fresh] == [0]
    assert (known["half_drift"].fresh, known["half_drift"].passes) == (((0, 20),), 7)
    counter = bench.Counter(bench.OpenVLAConfig.from_mapping(bench.OPENVLA_7B), 28)
    probe = counter.flops(known["attention_drift"]).probe
    assert probe * 4 == counter.flops(known["half_drift"]).probe  # 8 of 32 layers
    (config / "half_drift.yaml").unlink()
    assert "half_drift" not in bench.presets(SHAPE, 28, config, {})


def test_passes_are_the_measured_ones_or_none(
    share: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--preset", "dense_window", "--preset", "attention_drift_window", "--skip-check"]
    assert bench.main(asked) == 0
    out = capsys.readouterr().out
    assert "of dense  passes" not in out and "assumed: 2 passes" in out
    (share / "docs" / "results").mkdir(parents=True)
    record = {"variants": {"dense+window": {"passes": 3.25}}}
    (share / "docs" / "results" / "steps.json").write_text(json.dumps(record))
    assert bench.main(asked) == 0
    out = capsys.readouterr().out
    column = [line.split()[-1] for line in out.splitlines() if line.startswith("  dense_window  ")]
    assert "of dense  passes" in out and "3.25" in column
    assert "measured: 3.25 passes" in out and "assumed: 2 passes" in out


def test_a_mean_number_of_passes_costs_the_mean() -> None:
    config = bench.OpenVLAConfig.from_mapping(bench.OPENVLA_7B)
    counter = bench.Counter(config, 28)
    two, some, three = (
        counter.flops(bench.Preset(((0, 48),), "dense", (), decode="window", passes=passes)).total
        for passes in (2, 2.25, 3)
    )
    assert two < three and some == pytest.approx(0.75 * two + 0.25 * three, abs=2)


@pytest.mark.parametrize("plan", [
    TokenPlan((Stage(0, torch.arange(16)), Stage(4, torch.arange(3)))),
    TokenPlan((Stage(0, torch.arange(16)),), Pruning(4, lambda attention: torch.arange(3))),
])
def test_a_plan_deeper_than_the_decoder_is_refused(plan: TokenPlan) -> None:
    assert plan.rows_per_layer(5, 3) == [16] * 4 + [3]
    with pytest.raises(PlanError, match=r"plan layer=4: must be in 0\.\.3"):
        plan.rows_per_layer(4, 3)


@pytest.mark.parametrize(("name", "total"), [
    ("dense", 1.79), ("dense", 1.92), ("paper_vla_cache", 1.3), ("paper_vla_cache", 1.78),
    ("paper_infoentropy", 0.7), ("paper_infoentropy", 1.09), ("paper_infoentropy", 1.5),
])
def test_a_total_that_could_be_fitted_may_yet_be_contradicted(
    name: str, total: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(bench.PUBLISHED, name, total * 1e12)
    assert bench.main(["--preset", "dense", "--skip-check", "--recordings"]) == 1
    out = capsys.readouterr().out
    assert ("OUTSIDE" if name == "dense" else "CONTRADICTED") in out


def test_predictions_use_no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the static tokens, what signals that choose independently leave."""
    info = SelectionSettings(static_cap=100, k1=64, k2=64)
    assert published.independent_info(info, 256) == round(100 * 0.75 * 0.75)
    assert published.independent_info(info, 256, budget=256) == 25
    cache = SelectionSettings(cache_static=128, cache_evicted=64)
    assert published.independent_cache(cache, 256) == 96
    monkeypatch.setattr(published, "PUBLISHED", {"dense": 1.864e12})
    on_frames = {"kitchen": {"paper_vla_cache": 80, "paper_infoentropy": 110}}
    found = published.predictions(info, cache, 256, lambda r: 10 * r, lambda r: 20 * r, on_frames)
    assert [(each.name, each.macs) for each in found[:2]] == [
        ("paper_vla_cache", 20 * 96), ("paper_infoentropy", 10 * 56)]
    assert [(each.name, each.macs, each.where) for each in found[7:]] == [
        ("paper_vla_cache", 1600, "kitchen"), ("paper_infoentropy", 1100, "kitchen")]
    assert len(found) == 9 and all(each.holds for each in found)


def test_reuse_that_was_counted_may_contradict_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    low = published.Prediction("paper_infoentropy", 20, int(1.7e12), "kitchen")
    assert published.print_check(1, 2 * 10**12, [low], {"paper_infoentropy": 106}) == [
        "paper_infoentropy"]
    assert "kitchen" in capsys.readouterr().out


def test_reuse_is_counted_on_the_frames_of_a_camera() -> None:
    bag = Path(__file__).parents[1] / "data/bags/bridge_ep00_mcap"
    settings = SelectionSettings(
        k1=1, k2=2, static_cap=12, patch_block=1, cache_static=12, cache_evicted=3)
    presets = {"paper_infoentropy": settings, "paper_vla_cache": settings}
    seen = real_frames.pictures(bag)
    assert len(seen) == 10 and seen[0].shape == (64, 64, 3)
    found = real_frames.reused(TinyPolicy(), [seen[0]] * 3, presets)
    # Nothing moves: what is reused is the static cap without what is important.
    assert 9 <= found["paper_infoentropy"] <= 11 and 9 <= found["paper_vla_cache"] <= 12
    moving = real_frames.reused(TinyPolicy(), [*seen[:1], 255 - seen[0], *seen[:1]], presets)
    assert moving == {"paper_infoentropy": 0, "paper_vla_cache": 0}
    with pytest.raises(BagError, match="takes two or more"):
        real_frames.pictures(bag.parent / "piper_arm_one_frame.mcap")


def test_a_missed_total_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(bench.PUBLISHED, "paper_infoentropy", 0.1e12)  # no token count gives it
    assert bench.main(["--preset", "paper_infoentropy", "--skip-check", "--recordings"]) == 1
    assert "MISSED" in capsys.readouterr().out
