# SPDX-License-Identifier: Apache-2.0
"""What a step has cost, by both counters, from what ran in it."""

from __future__ import annotations

from dataclasses import dataclass

from vla_infoentropy_ros.engine.flops import (
    LlamaShape,
    greedy_passes,
    papers_macs,
    prefill_rows,
    probe_flops,
    step_flops,
    window_passes,
)
from vla_infoentropy_ros.engine.heads import Decoded
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import TokenPlan


@dataclass(frozen=True)
class Cost:
    """Of runs of the language model, without vision and probe: passes; flops, true FLOPs; macs,
    the papers' counter."""

    passes: int = 0
    flops: int = 0
    macs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.passes + other.passes, self.flops + other.flops, self.macs + other.macs)


def run_cost(decoder: PartialDecoder, plan: TokenPlan, decoded: Decoded) -> Cost:
    """Of the last run of ``decoder``: ``plan`` is what it recomputed, ``decoded`` what it gave."""
    layout, shape = decoder.layout, LlamaShape.of(decoder.model.config)
    kept = None if decoder.kept is None else decoder.kept.shape[0]
    visual = plan.rows_per_layer(len(decoder.layers), kept)
    if decoded.drafts:
        passes = window_passes(layout.prompt, layout.action, decoded.passes - 1)
    else:
        passes = greedy_passes(layout.prompt, layout.action)
    run = step_flops(
        shape,
        prefill_rows(visual, layout.visual, layout.text + decoded.drafts),
        layout.prompt + decoded.drafts,
        passes,
        head_rows=1 + decoded.drafts,
    ).total
    if plan.pruning is not None:  # the choice reads what prompt rows attend to, in one layer
        run += probe_flops(shape, 1, 1 if plan.pruning.last_row else layout.prompt, layout.prompt)
    rows = prefill_rows(visual, layout.visual, layout.text)
    return Cost(decoded.passes, run, papers_macs(rows, shape.width, shape.mlp_width))


def probe_flops_of(decoder: PartialDecoder) -> int:
    """FLOPs of reading the attention of a whole step, once."""
    layout, shape = decoder.layout, LlamaShape.of(decoder.model.config)
    rows, keys = layout.text + layout.action - 1, layout.total - 1
    return probe_flops(shape, len(decoder.probe_layers), rows, keys)
