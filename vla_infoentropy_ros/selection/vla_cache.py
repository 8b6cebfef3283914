# SPDX-License-Identifier: Apache-2.0
"""VLA-Cache (arXiv 2502.02175): reuse what did not change and the task does not look at."""

from __future__ import annotations

import torch

from vla_infoentropy_ros.engine.plan import Stage, TokenPlan
from vla_infoentropy_ros.engine.probe import Attention, AttentionNeeds
from vla_infoentropy_ros.selection import reasons
from vla_infoentropy_ros.selection.base import Selection, SelectionInput, found, with_bits
from vla_infoentropy_ros.selection.ranking import best_first, top, turn
from vla_infoentropy_ros.selection.settings import SelectionSettings, scaled_layer
from vla_infoentropy_ros.selection.staleness import patch_cosine


class VlaCache:
    """Static tokens without the attended ones, a growing share of them from layer to layer.

    As published, but for two decisions: the reference frame of a token is the one its keys and
    values were computed from, not the one before (a neighbour-only comparison never sees slow
    drift), and of the static tokens the least changed are reused first, of equals each in turn
    (``cache_order: raster`` gives the order of the released code). And the entropy that shares
    reuse among layers is that of the text rows over the visual tokens; the released code takes all
    rows over all columns, which a step that recomputes few rows does not have.
    """

    name = "vla_cache"
    schedule = ""
    reuses = True
    prunes = False

    def __init__(self, settings: SelectionSettings) -> None:
        self.settings = settings

    def needs(self, depth: int) -> AttentionNeeds:
        return AttentionNeeds(None)

    def select(self, given: SelectionInput) -> Selection:
        settings, attention = self.settings, given.last_attention
        similarity = patch_cosine(given.patches, given.reference_patches, settings.patch_block)
        places = self._places(similarity, given.t)
        unchanged = similarity >= settings.static_threshold
        static = unchanged & (places < settings.cache_static)
        layer = scaled_layer(settings.cache_attention_layer, given.depth)
        mass = attention.text[layer].mean(0)
        attended = top(given.per_view(mass), settings.cache_evicted)
        plan = TokenPlan(self._stages(given, static & ~attended, places))
        static, unchanged = static.flatten(), unchanged.flatten()
        fresh = torch.zeros_like(static).index_fill_(0, plan.fresh, True)
        # What is static and yet recomputed is so for its attention, or for that of its layer.
        return Selection(
            plan,
            with_bits(
                (~unchanged, reasons.STALE),
                (unchanged & ~static, reasons.AGE),
                (fresh & static, reasons.ATTENTION),
            ),
            {"attention_mass": mass, "drift": (1.0 - similarity).flatten()},
        )

    def _places(self, similarity: torch.Tensor, t: int) -> torch.Tensor:
        """Place of every token among those of its view, the stillest first: (V, n) int64."""
        settings, n = self.settings, similarity.shape[-1]
        back = turn(n, settings.cache_static, t) if settings.cache_order == "score" else 0
        return best_first(similarity.roll(-back, -1)).argsort().roll(back, -1)

    def _stages(
        self, given: SelectionInput, reusable: torch.Tensor, places: torch.Tensor
    ) -> tuple[Stage, ...]:
        """From reusable (V, n) and their places: the same share of every view.

        Nested: a token whose rows were dropped at one layer cannot come back at a deeper one, so
        the share never falls.
        """
        settings = self.settings
        shares = reuse_proportions(given.last_attention, settings.cache_damping)
        count = reusable.sum(-1, keepdim=True)
        if settings.cache_order == "score":
            place = torch.where(reusable, places, places.shape[-1]).argsort().argsort()
        else:
            place = reusable.cumsum(-1) - 1
        layers = sorted({scaled_layer(layer, given.depth) for layer in settings.cache_layers})
        grown = shares[layers].cummax(0).values
        reused = reusable & (place < (grown[:, None, None] * count).floor())
        stages = [
            Stage(layer, fresh)
            for layer, fresh in zip(layers, found((~reused).flatten(1)), strict=True)
        ]
        if layers[0]:
            every = torch.arange(reusable.numel(), device=reusable.device)
            stages = [Stage(0, every), *stages]
        return tuple(stages)


def reuse_proportions(attention: Attention, damping: float) -> torch.Tensor:
    """r_l, the share of the reusable tokens that layer l reuses: (L,) float32 in [0, 1].

    r_l = 1 - minmax over layers of the mean entropy of the text rows' attention to the visual
    tokens: where attention is concentrated, more can be kept. A rise from one layer to the next
    is damped by ``damping``.
    """
    q = attention.text / attention.text.sum(-1, keepdim=True).clamp_min(1e-12)
    entropy = -(q * q.clamp_min(1e-12).log()).sum(-1).mean(-1)
    low, high = entropy.min(), entropy.max()
    raw = 1.0 - (entropy - low) / (high - low).clamp_min(1e-12)
    shares = [raw[0]]
    for share in raw[1:]:
        rise = (share - shares[-1]).clamp_min(0.0)
        shares.append(torch.where(rise > 0, shares[-1] + damping * rise, share))
    return torch.stack(shares)
