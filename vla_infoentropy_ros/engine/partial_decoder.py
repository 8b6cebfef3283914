# SPDX-License-Identifier: Apache-2.0
"""A forward pass over chosen rows of the sequence; every other row is read from the cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM

from vla_infoentropy_ros.engine.plan import PlanError, TokenPlan
from vla_infoentropy_ros.engine.probe import BACKEND, Attention, QueryTape, attention_to
from vla_infoentropy_ros.engine.slot_cache import SlotCache


@dataclass(frozen=True)
class Layout:
    """Where things stand: ``[BOS][visual tokens][text][action tokens]``."""

    visual: int
    text: int
    action: int

    @property
    def tail(self) -> int:
        """Position of the first text token."""
        return 1 + self.visual

    @property
    def prompt(self) -> int:
        """Length of the prompt; position of the first action token."""
        return 1 + self.visual + self.text

    @property
    def total(self) -> int:
        return self.prompt + self.action


@dataclass(frozen=True)
class _Rows:
    """Rows of one pass through some layers: positions (n,), rotary (1, n, d_head) each, and the
    boolean mask (1, 1, n, length) or None when every key may be seen."""

    positions: torch.Tensor
    rotary: tuple[torch.Tensor, torch.Tensor]
    mask: torch.Tensor | None
    length: int


class PartialDecoder:
    """Runs an unmodified Llama over chosen positions, keys and values in a `SlotCache`.

    Holds the cache, and so belongs to one session. Only the decoder layers, the final norm and
    the head of the model are called; its weights are never changed.
    """

    def __init__(self, model: LlamaForCausalLM, layout: Layout, probe_layers: tuple[int, ...]):
        self.model, self.layout, self.probe_layers = model, layout, probe_layers
        self.layers = list(model.model.layers)
        weight = model.model.embed_tokens.weight
        device, dtype = weight.device, weight.dtype
        model.config._attn_implementation = BACKEND
        self.cache = SlotCache(model.config, layout.total, device=device, dtype=dtype)
        self._tape = QueryTape(
            model.config, probe_layers, layout.tail, layout.text + layout.action,
            device=device, dtype=dtype,
        )
        self._positions = torch.arange(layout.total, device=device)
        self._causal = self._positions[None, :] <= self._positions[:, None]
        self._rotary = model.model.rotary_emb(weight[:1, None], self._positions[None])
        self._pruned_from = len(self.layers)
        self._visible: torch.Tensor | None = None  # (total,) bool: keys left after pruning
        self.kept: torch.Tensor | None = None  # (m,) what a step that pruned left; else None

    def prefill(self, sequence: torch.Tensor, plan: TokenPlan) -> torch.Tensor:
        """Recompute what ``plan`` names, and all positions after the visual tokens.

        sequence: (1, S, d) embeddings of BOS, visual tokens, text and any draft action tokens;
        rows that the plan keeps are not read. Returns hidden states after the final norm,
        (1, S - tail, d): those of the text and draft rows.
        """
        end = sequence.shape[1]
        tail = self._positions[self.layout.tail : end]
        # BOS never changes under a causal mask: it is computed only along with everything
        # else, so that a plan with nothing to reuse is the dense pass, row for row.
        everything = plan.stages[0].fresh.shape[0] == self.layout.visual
        bos = self._positions[: int(everything)]
        self._pruned_from, self._visible, self.kept = len(self.layers), None, None
        self._tape.aim(tail)

        narrowing = {stage.layer: stage.fresh for stage in plan.stages}
        rows = self._rows(torch.cat((bos, narrowing.pop(0) + 1, tail)), end)
        hidden = sequence[:, rows.positions]
        for index in range(len(self.layers)):
            fresh = narrowing.get(index)
            if plan.pruning is not None and index == plan.pruning.layer:
                fresh = plan.pruning.choose(self._attention_of_rows(rows, index - 1))
                self._prune(fresh, from_layer=index)
            if fresh is not None:
                narrower = self._rows(torch.cat((bos, fresh + 1, tail)), end, self._visible)
                hidden = hidden[:, _locate(narrower.positions, rows.positions)]
                rows = narrower
            hidden = self._layer(index, hidden, rows)
        return self.model.model.norm(hidden[:, -tail.shape[0] :])

    def extend(self, embeddings: torch.Tensor, start: int) -> torch.Tensor:
        """Run ``embeddings`` (1, n, d) at positions start, start + 1, ...; earlier positions are
        read from the cache. Returns (1, n, d) after the final norm."""
        end = start + embeddings.shape[1]
        positions = self._positions[start:end]
        self._tape.aim(positions)
        rows = self._rows(positions, end)
        hidden = embeddings
        for index in range(len(self.layers)):
            if index == self._pruned_from:
                rows = self._rows(positions, end, self._visible)
            hidden = self._layer(index, hidden, rows)
        return self.model.model.norm(hidden)

    def attention(self) -> Attention:
        """What the text and action rows of the step just run attended to, probed layers only."""
        layout, layers = self.layout, self._tape.layers
        end = layout.total - 1  # the last action token is never fed back
        mask = self._causal[layout.tail : end, :end]
        if self._visible is not None:
            pruned = [layer >= self._pruned_from for layer in layers]
            sees_all = ~torch.tensor(pruned, device=mask.device)[:, None, None]
            mask = mask & (self._visible[:end] | sees_all)
        weights = self._tape.read(self.cache, mask, slice(1, layout.tail))
        return Attention(layers, weights[:, : layout.text], weights[:, layout.text :])

    def _layer(self, index: int, hidden: torch.Tensor, rows: _Rows) -> torch.Tensor:
        self.cache.aim(rows.positions, rows.length)
        return self.layers[index](
            hidden,
            attention_mask=rows.mask,
            position_embeddings=rows.rotary,
            past_key_values=self.cache,
            query_tape=self._tape,
        )

    def _rows(
        self, positions: torch.Tensor, length: int, visible: torch.Tensor | None = None
    ) -> _Rows:
        cos, sin = self._rotary
        rotary = (cos[:, positions], sin[:, positions])
        if visible is None and positions.shape[0] == 1:
            return _Rows(positions, rotary, None, length)  # the newest row may see every key
        mask = self._causal[positions, :length]
        if visible is not None:
            mask = mask & visible[:length]
        return _Rows(positions, rotary, mask[None, None], length)

    def _prune(self, kept: torch.Tensor, from_layer: int) -> None:
        if kept.shape[0] == self.layout.visual:
            return  # nothing to hide: the pass stays the dense one, bit for bit
        visible = torch.ones_like(self._positions, dtype=torch.bool)
        visible[1 : self.layout.tail] = False
        visible[kept + 1] = True
        self._pruned_from, self._visible, self.kept = from_layer, visible, kept

    def _attention_of_rows(self, rows: _Rows, layer: int) -> torch.Tensor:
        """(N,) float32: attention to the visual tokens, mean over heads and prompt rows.

        Draft rows do not vote: which tokens stay must not depend on how they are decoded.
        """
        assert self._tape.latest is not None and rows.mask is not None
        end = self.layout.prompt
        prompt = rows.positions.shape[0] - (rows.length - end)
        keys = self.cache.keys[layer : layer + 1, 0, :, :end]
        mask = rows.mask[0, 0, :prompt, :end]
        queries = self._tape.latest[:, :, :prompt]
        return attention_to(queries, keys, mask, slice(1, self.layout.tail))[0].mean(0)


def _locate(positions: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """Indices of ``positions`` (n,) in the sorted ``among`` (m,) that holds them all."""
    if positions.shape[0] > among.shape[0]:
        raise PlanError("a later stage recomputes tokens that an earlier one left out")
    return torch.searchsorted(among, positions)
