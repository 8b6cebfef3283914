# SPDX-License-Identifier: Apache-2.0
"""What a step has cost, by both counters, from what ran in it."""

from __future__ import annotations

from dataclasses import dataclass

from vla_infoentropy_ros.engine.flops import (
    greedy_passes,
    layer_flops,
    papers_macs,
    prefill_rows,
    probe_flops,
    step_flops,
    window_passes,
)
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.shape import LlamaShape


@dataclass(frozen=True)
class Cost:
    """Of runs of the language model, without vision and probe: passes; flops, true FLOPs; macs,
    the papers' counter."""

    passes: int = 0
    flops: int = 0
    macs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.passes + other.passes, self.flops + other.flops, self.macs + other.macs)


def run_cost(decoder: PartialDecoder, plan: TokenPlan, passes: int, drafts: int) -> Cost:
    """Of the last run of ``decoder`` by a token head: ``plan`` is what it recomputed, in ``passes``
    passes, the first of which carried ``drafts`` draft tokens."""
    layout, shape = decoder.layout, LlamaShape.of(decoder.model.config)
    kept = None if decoder.kept is None else decoder.kept.shape[0]
    visual = plan.rows_per_layer(len(decoder.layers), kept)
    if drafts:
        decode = window_passes(layout.prompt, layout.action, passes - 1)
    else:
        decode = greedy_passes(layout.prompt, layout.action)
    run = step_flops(
        shape,
        prefill_rows(visual, layout.visual, layout.text + drafts),
        layout.prompt + drafts,
        decode,
        head_rows=1 + drafts,
    ).total
    if plan.pruning is not None:  # the choice reads what prompt rows attend to, in one layer
        run += probe_flops(shape, 1, 1 if plan.pruning.last_row else layout.prompt, layout.prompt)
    rows = prefill_rows(visual, layout.visual, layout.text)
    return Cost(passes, run, papers_macs(rows, shape.width, shape.mlp_width))


def fill_cost(decoder: PartialDecoder, plan: TokenPlan) -> Cost:
    """Of `PartialDecoder.fill`: all layers but the last whole, of that keys and values alone."""
    layout, shape = decoder.layout, LlamaShape.of(decoder.model.config)
    everything = plan.stages[0].fresh.shape[0] == layout.visual
    others = layout.always_leading(everything) + layout.prompt - layout.tail
    rows = [others + count for count in plan.rows_per_layer(shape.layers)]
    flops = sum(layer_flops(shape, count, layout.prompt) for count in rows[:-1])
    flops += 4 * rows[-1] * shape.width * shape.key_heads * shape.head_width
    return Cost(1, flops, papers_macs(rows, shape.width, shape.mlp_width))


def probe_flops_of(decoder: PartialDecoder, action_rows: int) -> int:
    """FLOPs of reading the attention of a whole step, once."""
    layout, shape = decoder.layout, LlamaShape.of(decoder.model.config)
    keys = layout.prompt + action_rows
    return probe_flops(shape, len(decoder.probe_layers), keys - layout.tail, keys)
