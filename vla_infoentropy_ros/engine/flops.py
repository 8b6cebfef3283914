# SPDX-License-Identifier: Apache-2.0
"""What a step costs, in closed form, under two names.

True FLOPs: 2 x multiply-accumulates of every matrix product and attention that runs, as torch's
``FlopCounterMode`` counts them (norms, activations, softmax and rotary embedding left out); the
tests hold the two equal. Masked-out attention scores count, since dense kernels compute them.

The papers' MACs: per decoder layer 4 n d^2 + 2 n^2 d + 3 n d m with n rows entering the layer,
prefill only; no vision, no head, no decode passes, keys taken as many as rows. This is the
counter in VLA-Cache's released code, which VLA-InfoEntropy's totals follow.

Everything here is integer arithmetic on shapes: nothing is read from a device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import LlamaConfig

from vla_infoentropy_ros.engine.shape import LlamaShape


@dataclass(frozen=True)
class Pass:
    """One decode pass: rows computed, keys each may be matched with (padding included), and rows
    that go through the language model head."""

    rows: int
    keys: int
    head_rows: int = 1


@dataclass(frozen=True)
class StepFlops:
    """True FLOPs of one step by part. lm_head: of the prefill and of all decode passes."""

    vision: int
    projector: int
    prefill: int
    probe: int
    decode: int
    lm_head: int

    @property
    def total(self) -> int:
        return (
            self.vision + self.projector + self.prefill + self.probe + self.decode + self.lm_head
        )


def step_flops(
    config: LlamaConfig | LlamaShape,
    rows_per_layer: Sequence[int],
    kv_length: int,
    decode: Sequence[Pass] = (),
    *,
    head_rows: int = 1,
    probe_rows: int = 0,
    probe_layers: int = 0,
    probe_keys: int = 0,
    vision: int = 0,
    projector: int = 0,
) -> StepFlops:
    """True FLOPs of one step.

    rows_per_layer: all rows (BOS, visual, text, draft) that enter each decoder layer in the
    prefill. kv_length: keys that those rows are matched with. decode: the passes behind the
    prefill, see `greedy_passes` and `window_passes`. head_rows: prefill rows through the head.
    probe_*: the attention read after the step; keys default to the longest pass. vision,
    projector: of the frame, from `vit_flops` and `mlp_flops`.
    """
    shape = config if isinstance(config, LlamaShape) else LlamaShape.of(config)
    if len(rows_per_layer) != shape.layers:
        raise ValueError(f"{len(rows_per_layer)} row counts for {shape.layers} decoder layers")
    if any(not 0 <= rows <= kv_length for rows in rows_per_layer):
        raise ValueError(f"rows_per_layer={rows_per_layer}: must lie in 0..kv_length={kv_length}")
    keys = probe_keys or max([kv_length, *(each.keys for each in decode)])
    probe = probe_flops(shape, probe_layers, probe_rows, keys)
    return StepFlops(
        vision=vision,
        projector=projector,
        prefill=sum(layer_flops(shape, rows, kv_length) for rows in rows_per_layer),
        probe=probe,
        decode=sum(shape.layers * layer_flops(shape, each.rows, each.keys) for each in decode),
        lm_head=2 * shape.width * shape.vocabulary
        * (head_rows + sum(each.head_rows for each in decode)),
    )


def prefill_rows(fresh_per_layer: Sequence[int], visual: int, behind: int) -> list[int]:
    """All rows per layer from the visual ones, as the engine runs them: ``behind`` text and draft
    rows always, BOS only in a step that begins with every one of the ``visual`` tokens."""
    bos = int(fresh_per_layer[0] == visual)
    return [bos + fresh + behind for fresh in fresh_per_layer]


def layer_flops(shape: LlamaShape, rows: int, keys: int) -> int:
    """One decoder layer over ``rows`` queries and ``keys`` keys."""
    queries_width = shape.heads * shape.head_width
    projections = shape.width * (2 * queries_width + 2 * shape.key_heads * shape.head_width)
    attention = 2 * keys * queries_width  # scores and their sum over values, all query heads
    return 2 * rows * (projections + attention + 3 * shape.width * shape.mlp_width)


def probe_flops(shape: LlamaShape, layers: int, rows: int, keys: int) -> int:
    """Scores of ``rows`` queries against ``keys`` keys in each of ``layers`` layers, read once."""
    return 2 * layers * shape.heads * rows * keys * shape.head_width


def greedy_passes(prompt: int, action_tokens: int) -> tuple[Pass, ...]:
    """One row at a time behind a prompt of ``prompt`` tokens; the last token is never fed back."""
    return tuple(Pass(1, prompt + index + 1) for index in range(action_tokens - 1))


def window_passes(prompt: int, action_tokens: int, further: int) -> tuple[Pass, ...]:
    """``further`` passes over the whole draft, after the prefill that carried it. That prefill
    has ``prompt + action_tokens - 1`` keys and ``action_tokens`` head rows."""
    rows = action_tokens - 1
    return (Pass(rows, prompt + rows, head_rows=rows),) * further


def mlp_flops(rows: int, widths: Sequence[int]) -> int:
    """Linear layers in a row, of the given widths from input to output."""
    return sum(2 * rows * a * b for a, b in pairwise(widths))


def vit_flops(
    *, width: int, mlp_width: int, blocks: int, rows: int, patches: int, patch_values: int
) -> int:
    """A vision transformer for one view. rows: patches and prefix tokens. patch_values: numbers
    in one patch, 3 x edge^2."""
    block = 4 * width * width + 2 * rows * width + 2 * width * mlp_width
    return 2 * patches * patch_values * width + 2 * blocks * rows * block


def papers_macs(rows_per_layer: Sequence[int], width: int, mlp_width: int) -> int:
    """The papers' counter for one prefill; see the head of this file."""
    return sum(
        4 * n * width**2 + 2 * n**2 * width + 3 * n * width * mlp_width for n in rows_per_layer
    )


def measure_flops(run: Callable[[], object]) -> int:
    """FLOPs that torch's counter sees while ``run`` runs; for parts without a closed form. Slows
    the run down many times: for start-up and tests, not for a step."""
    with FlopCounterMode(display=False, custom_mapping=dict(_CPU_ATTENTION)) as counter:
        run()
    return int(counter.get_total_flops())


def _cpu_attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *args: object, **kwargs: object
) -> int:
    return int(sdpa_flop_count(query, key, value))


# torch's counter knows the fused attention kernels of GPUs, not that of the CPU.
_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention_flops
}
