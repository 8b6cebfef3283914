# SPDX-License-Identifier: Apache-2.0
"""A layer here gives transformers' numbers, bit for bit, in fewer operators."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.bench.launches import counted
from vla_infoentropy_ros.engine.layer import normed, rotated
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import QueryTape

DTYPES = [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_is_llamas_and_any_other_is_asked(dtype):
    hidden = torch.randn(1, 5, 64).to(dtype)
    norm = LlamaRMSNorm(64, eps=1e-5).to(dtype)
    norm.weight.data.normal_()
    assert torch.equal(normed(norm, hidden), norm(hidden))
    other = nn.LayerNorm(64).to(dtype)
    assert torch.equal(normed(other, hidden), other(hidden))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_rotary_embedding_is_llamas(dtype):
    heads, cos, sin = (torch.randn(1, n, 7, 16).to(dtype) for n in (4, 1, 1))
    expected, _ = apply_rotary_pos_emb(heads, heads, cos[:, 0], sin[:, 0])
    assert torch.equal(rotated(heads, cos, sin), expected)


def test_a_layer_launches_no_more_than_two_dozen_operators():
    policy = TinyPolicy()
    model = policy.decoder.model
    with torch.inference_mode():
        decoder = PartialDecoder(model, Layout(16, 5, 7), (0, 1, 2, 3))
        decoder.prefill(torch.randn(1, 22, 32), TokenPlan.dense(16))
        row = torch.randn(1, 1, 32)
        run = counted(lambda: decoder.extend(row, 22))
    assert run.total <= 24 * len(model.layers) + 2, run.by_name  # and the last norm


def test_queries_of_a_later_pass_replace_those_from_its_first_row_on():
    """A draft's rows are computed again by every pass of the window, greedy's follow singly."""
    tape = QueryTape((0, 2), first=10, device=torch.device("cpu"))

    def run(start, end, value):
        tape.aim(start, end)
        for layer in range(3):  # a prefill computes rows before the first too
            tape.record(layer, torch.full((1, 2, end - start + 4, 3), 100.0 * layer + value))

    run(10, 17, 1.0)
    run(14, 17, 2.0)
    run(14, 17, 3.0)
    assert tape.queries(7)[0, 0, :, 0].tolist() == [1, 1, 1, 1, 3, 3, 3]
    assert tape.queries(7)[1, 0, :, 0].tolist() == [201, 201, 201, 201, 203, 203, 203]
    assert tape.queries(3)[0, 0, :, 0].tolist() == [1, 1, 1]
    assert len(tape._passes) == 2, "what was replaced is not held"
    run(10, 14, 4.0)
    for row in (14, 15):
        run(row, row + 1, float(row))
    assert tape.queries(6)[0, 0, :, 0].tolist() == [4, 4, 4, 4, 14, 15]
