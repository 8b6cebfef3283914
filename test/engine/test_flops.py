# SPDX-License-Identifier: Apache-2.0
"""The closed form against torch's counter, operation by operation, on the engine itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.bench import flops as bench
from vla_infoentropy_ros.engine import heads
from vla_infoentropy_ros.engine.flops import (
    LlamaShape,
    Pass,
    greedy_passes,
    measure_flops,
    papers_macs,
    prefill_rows,
    step_flops,
    window_passes,
)
from vla_infoentropy_ros.engine.partial_decoder import Layout, PartialDecoder
from vla_infoentropy_ros.engine.plan import Stage, TokenPlan
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.openvla import load_openvla

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
    decoder = PartialDecoder(model, Layout(VISUAL, TEXT, ACTION), probe_layers)
    plan = _plan(name)

    @torch.no_grad()
    def run() -> None:
        hidden = decoder.prefill(torch.randn(1, PROMPT, 32), plan)
        heads.greedy(decoder, hidden)
        if probe_layers:
            decoder.attention()

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
    decoder = PartialDecoder(model, Layout(VISUAL, TEXT, ACTION), ())
    plan, draft = _plan(name), torch.arange(40, 40 + ACTION - 1)
    passes: list[int] = []

    @torch.no_grad()
    def run() -> None:
        sequence = torch.cat([torch.randn(1, PROMPT, 32), model.model.embed_tokens(draft)[None]], 1)
        hidden = decoder.prefill(sequence, plan)
        passes.append(heads.window(decoder, hidden, draft).passes)

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
    tower, projector = policy.vision_flops()
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
    shape = LlamaShape.of(_config(2))
    assert isinstance(step_flops(shape, [5] * LAYERS, 9, [Pass(1, 10)]).total, int)
    with pytest.raises(ValueError, match="3 row counts for 4"):
        step_flops(shape, [5] * 3, 9)
    with pytest.raises(ValueError, match="kv_length=4"):
        step_flops(shape, [5] * LAYERS, 4)


def test_published_totals_are_met(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("dense", "paper_vla_cache", "paper_infoentropy")
    chosen = [word for name in names for word in ("--preset", name)]
    assert bench.main([*chosen, "--skip-check"]) == 0
    out = capsys.readouterr().out
    for total in ("1.864", "1.355", "1.214"):
        assert f"published {total}" in out
    assert "MISSED" not in out and "solved:" in out and "assumed:" in out


def test_engine_on_the_7b_shapes_costs_what_the_closed_form_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench.main(["--preset", "attention_drift_window"]) == 0
    assert " == " in capsys.readouterr().out


def test_a_missed_total_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(bench.PUBLISHED, "paper_infoentropy", 0.1e12)  # no token count gives it
    assert bench.main(["--preset", "paper_infoentropy", "--skip-check"]) == 1
    assert "MISSED" in capsys.readouterr().out
