# SPDX-License-Identifier: Apache-2.0
"""A forward pass over chosen rows of the sequence; every other row is read from the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaModel

from vla_infoentropy_ros.engine.layer import (
    ReadsPrefix,
    attended,
    normed,
    projected,
    rotated,
    split,
)
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.plan import PlanError, TokenPlan
from vla_infoentropy_ros.engine.probe import Attention, QueryTape, attention_to
from vla_infoentropy_ros.engine.slot_cache import SlotCache


@dataclass(frozen=True)
class _Rows:
    """Rows of one pass through some layers: positions (n,), rotary (2, 1, 1, n, d_head), cosines
    and sines, and the boolean mask (1, 1, n, length) or None when every key may be seen."""

    positions: torch.Tensor
    rotary: torch.Tensor
    mask: torch.Tensor | None
    length: int


class PartialDecoder:
    """Runs a transformer over chosen positions, keys and values in a `SlotCache`.

    model: a Llama or what is built like one (Gemma), without its language model head. Holds the
    cache, and so belongs to one session. The model is not changed, and no other user of it changes
    how rows are run here.
    """

    def __init__(self, model: LlamaModel, layout: Layout, probe_layers: tuple[int, ...]):
        self.model, self.layout, self.probe_layers = model, layout, probe_layers
        self.layers: list[Any] = list(model.layers)
        self.device = model.embed_tokens.weight.device
        weight = model.embed_tokens.weight
        device, dtype = weight.device, weight.dtype
        self.cache = SlotCache(model.config, layout.total, device=device, dtype=dtype)
        self._tape = QueryTape(probe_layers, layout.tail, device)
        self._positions = torch.arange(layout.total, device=device)
        self._mask = layout.mask(device)
        rotary = torch.stack(model.rotary_emb(weight[:1, None], self._positions[None]))
        self._rotary = rotary[:, None]  # (2, 1, 1, total, d_head)
        self._leading = layout.bos  # rows before the visual tokens that the last pass computed
        self._pruned_from = len(self.layers)
        self._visible: torch.Tensor | None = None  # (total,) bool: keys left after pruning
        self._shown: torch.Tensor | None = None  # (total,) bool: what the last `through` may see
        self.kept: torch.Tensor | None = None  # (m,) what a step that pruned left; else None

    def prefill(self, sequence: torch.Tensor, plan: TokenPlan) -> torch.Tensor:
        """Recompute what ``plan`` names, and all positions after the visual tokens.

        sequence: (1, S, d) embeddings of BOS, visual tokens, text, state and any draft action
        tokens; rows that the plan keeps are not read. Returns hidden states after the final norm,
        (1, S - tail, d): those of the rows behind the visual tokens.
        """
        hidden, _ = self._run(sequence, plan, len(self.layers))
        return normed(self.model.norm, hidden[:, -(sequence.shape[1] - self.layout.tail) :])

    def fill(self, sequence: torch.Tensor, plan: TokenPlan) -> None:
        """`prefill` for a head that reads keys and values alone: the last layer's attention and
        MLP would feed nothing, and are left out."""
        last = len(self.layers) - 1
        hidden, rows = self._run(sequence, plan, last)
        fresh = {stage.layer: stage.fresh for stage in plan.stages}.get(last)
        if fresh is not None:
            hidden, rows = self._narrow(hidden, rows, fresh, sequence.shape[1])
        attention = self.layers[last].self_attn
        hidden = normed(self.layers[last].input_layernorm, hidden)
        keys = rotated(split(attention, attention.k_proj, hidden), *rows.rotary)
        values = split(attention, attention.v_proj, hidden)
        self.cache.write(last, rows.positions, keys, values)

    def _run(
        self, sequence: torch.Tensor, plan: TokenPlan, depth: int
    ) -> tuple[torch.Tensor, _Rows]:
        """``plan`` through the first ``depth`` layers."""
        end = sequence.shape[1]
        self._pruned_from, self._visible, self.kept = len(self.layers), None, None
        self._shown = None
        self._tape.aim(self.layout.tail, end)
        self._leading = self.layout.always_leading(
            plan.stages[0].fresh.shape[0] == self.layout.visual
        )
        narrowing = {stage.layer: stage.fresh for stage in plan.stages}
        rows = self._rows(self._chosen(narrowing.pop(0), end), end)
        hidden = sequence[:, rows.positions]
        for index in range(depth):
            fresh = narrowing.get(index)
            if plan.pruning is not None and index == plan.pruning.layer:
                asked = self._attention_of_rows(rows, index - 1, plan.pruning.last_row)
                fresh = plan.pruning.choose(asked)
                self._prune(fresh, from_layer=index)
            if fresh is not None:
                hidden, rows = self._narrow(hidden, rows, fresh, end)
            hidden = self._layer(index, hidden, rows)
        return hidden, rows

    def _chosen(self, fresh: torch.Tensor, end: int) -> torch.Tensor:
        """Positions of the visual tokens ``fresh`` and of all rows that are always computed."""
        leading, tail = self._positions[: self._leading], self._positions[self.layout.tail : end]
        return torch.cat((leading, fresh + self.layout.bos, tail))

    def _narrow(
        self, hidden: torch.Tensor, rows: _Rows, fresh: torch.Tensor, end: int
    ) -> tuple[torch.Tensor, _Rows]:
        narrower = self._rows(self._chosen(fresh, end), end, self._visible)
        return hidden[:, _locate(narrower.positions, rows.positions)], narrower

    def extend(self, embeddings: torch.Tensor, start: int) -> torch.Tensor:
        """Run ``embeddings`` (1, n, d) at positions start, start + 1, ...; earlier positions are
        read from the cache. Returns (1, n, d) after the final norm."""
        return normed(self.model.norm, self.through(self.layers, embeddings, start))

    def through(
        self, layers: Sequence[Any], hidden: torch.Tensor, start: int,
        visible: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run ``hidden`` (1, n, d) at positions start, start + 1, ... through ``layers``, one for
        every layer of the model: its own, or those of an expert that reads its keys and values.

        visible: (total,) bool, positions that these rows may see beyond what the layout says;
        None for all.
        """
        end = start + hidden.shape[1]
        self._tape.aim(start, end)
        self._shown = visible
        rows = self._rows(slice(start, end), end, visible, first=start)
        for index, layer in enumerate(layers):
            if index == self._pruned_from:
                rows = self._rows(slice(start, end), end, self._visible)
            hidden = self._layer(index, hidden, rows, layer)
        return hidden

    def attention(self, action_rows: int) -> Attention:
        """What the text rows and the first ``action_rows`` action rows of the step just run
        attended to, probed layers only."""
        layout, layers = self.layout, self._tape.layers
        end = layout.prompt + action_rows
        mask = self._mask[layout.tail : end, :end]
        if self._visible is not None:
            sees_all = (self._tape.numbers < self._pruned_from)[:, None, None]
            mask = mask & (self._visible[:end] | sees_all)
        behind = layout.prompt - layout.tail
        if self._shown is not None:
            is_prompt = torch.arange(mask.shape[-2], device=mask.device) < behind
            mask = mask & (self._shown[:end] | is_prompt[:, None])
        weights = self._tape.read(self.cache, mask, layout.visual_columns)
        return Attention(layers, weights[:, : layout.text], weights[:, behind:])

    def _layer(
        self, index: int, hidden: torch.Tensor, rows: _Rows, layer: Any = None
    ) -> torch.Tensor:
        layer = layer or self.layers[index]
        entering = normed(layer.input_layernorm, hidden)
        hidden = hidden + self._attend(index, layer.self_attn, entering, rows)
        computed: torch.Tensor = layer.mlp(normed(layer.post_attention_layernorm, hidden))
        return hidden + computed

    def _attend(
        self, index: int, attention: Any, entering: torch.Tensor, rows: _Rows
    ) -> torch.Tensor:
        if isinstance(attention, ReadsPrefix):
            return attention.across(entering)
        query, key, value = projected(attention, entering, rows.rotary)
        self._tape.record(index, query)
        self.cache.write(index, rows.positions, key, value)
        keys, values = self.cache.read(index, rows.length)
        return attended(attention, query, keys, values, rows.mask)

    def _rows(
        self, chosen: torch.Tensor | slice, length: int, visible: torch.Tensor | None = None,
        first: int = 0,
    ) -> _Rows:
        """chosen: positions, a slice where they follow one another, which costs no gathering.
        first: none of them lies before it."""
        positions, rotary = self._positions[chosen], self._rotary[:, :, :, chosen]
        if visible is None and self.layout.open(first, length):
            return _Rows(positions, rotary, None, length)
        mask = self._mask[chosen, :length]
        if visible is not None:
            mask = mask & visible[:length]
        return _Rows(positions, rotary, mask[None, None], length)

    def _prune(self, kept: torch.Tensor, from_layer: int) -> None:
        if kept.shape[0] == self.layout.visual:
            return  # nothing to hide: the pass stays the dense one, bit for bit
        visible = torch.ones_like(self._positions, dtype=torch.bool)
        visible[self.layout.visual_columns] = False
        visible[kept + self.layout.bos] = True
        self._pruned_from, self._visible, self.kept = from_layer, visible, kept

    def _attention_of_rows(self, rows: _Rows, layer: int, last: bool) -> torch.Tensor:
        """(N,) float32: attention to the visual tokens, mean over heads and prompt rows, or of the
        ``last`` of these rows alone.

        Draft rows do not vote: which tokens stay must not depend on how they are decoded.
        """
        assert self._tape.latest is not None
        end = self.layout.prompt
        prompt = rows.positions.shape[0] - (rows.length - end)
        asked = slice(prompt - 1 if last else 0, prompt)
        keys = self.cache.keys[layer : layer + 1, 0, :, :end]
        mask = self._mask[rows.positions[asked], :end]
        queries = self._tape.latest[:, :, asked]
        return attention_to(queries, keys, mask, self.layout.visual_columns)[0].mean(0)


def _locate(positions: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """Indices of ``positions`` (n,) in the sorted ``among`` (m,) that holds them all."""
    if positions.shape[0] > among.shape[0]:
        raise PlanError("a later stage recomputes tokens that an earlier one left out")
    return torch.searchsorted(among, positions)
