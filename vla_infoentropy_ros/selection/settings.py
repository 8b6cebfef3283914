# SPDX-License-Identifier: Apache-2.0
"""Every knob of token selection: one table from which errors, ROS parameters and docs are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from vla_infoentropy_ros.knobs import SettingError, check_knobs, knob

# The papers give layer numbers for a language model of this depth.
_PAPER_DEPTH = 32
_LAST_LAYER = _PAPER_DEPTH - 1


@dataclass(frozen=True)
class SelectionSettings:
    """Hyperparameters of all selectors and schedules; each selector reads the ones it names.

    Token counts are per view. Layers are those of a 32-layer decoder, 0..31; see `scaled_layer`.
    Raises SettingError, naming the parameter, its value and the allowed range.
    """

    # info_entropy: budgets and schedule
    k1: int = knob(40, "tokens; lower end of the budget of each signal (paper, eq 7)",
                   low=0, high=4096)
    k2: int = knob(60, "tokens; upper end of the budget of each signal (paper, eq 7)",
                   low=0, high=4096)
    horizon: int = knob(100, "T: policy steps over which the schedule runs (paper, eq 7)",
                        low=1, high=1_000_000)
    alpha: float = knob(0.5, "where the constant schedule stands: 0 = image entropy has k2, "
                        "1 = attention has k2", low=0.0, high=1.0)
    form: str = knob("paper", "info_entropy: paper = recompute what changed or is important; "
                     "half_drift = fresh_tokens in all, half of them the most important, half "
                     "those that drifted most (ours)", choices=("paper", "half_drift"))
    reuse_from_layer: int = knob(2, "info_entropy: first layer, of 32, that keeps the last step's "
                                 "keys and values; below it all tokens are recomputed",
                                 low=0, high=_LAST_LAYER)
    # signals
    staleness: str = knob("pixel", "how a token is judged unchanged: pixel = cosine of RGB "
                          "patches (paper), drift = distance of projected embeddings (ours)",
                          choices=("pixel", "drift"))
    static_threshold: float = knob(0.996, "pixel: least patch cosine of an unchanged token",
                                   low=-1.0, high=1.0)
    patch_block: int = knob(4, "pixel: edge of the blocks, px, whose means are compared, so that a "
                            "camera's noise is no change; 1 = single pixels (paper)",
                            low=1, high=64)
    drift_threshold: float = knob(0.25, "drift: largest |e - e_ref| / |e_ref| of an unchanged "
                                  "token", low=0.0, high=100.0)
    static_cap: int = knob(150, "info_entropy: most tokens that count as unchanged",
                           low=0, high=4096)
    grey_levels: int = knob(256, "G: bins of the grey histogram of a patch",
                            choices=(16, 32, 64, 256))
    attention_mode: str = knob("paper", "attention information from the mean attention s: paper "
                               "= softmax of s over words, renorm = s / sum s with tokens of "
                               "little mass gated to 0, temperature = softmax of s / tau",
                               choices=("paper", "renorm", "temperature"))
    temperature: float = knob(1e-3, "tau of attention_mode temperature; s is about 1e-3",
                              low=1e-9, high=1e3)
    words: str = knob("instruction", "text rows that count as words W",
                      choices=("instruction", "all_text"))
    attention_layers: str = knob("all", "layers whose attention is read: fewer cost less",
                                 choices=("all", "latter_half", "every_fourth"))
    # attention_drift and the controls
    fresh_tokens: int = knob(64, "tokens recomputed in each step by attention_drift, "
                             "info_entropy in the form half_drift, and random",
                             low=0, high=4096)
    drift_rows: str = knob("text", "attention_drift: rows whose attention weighs drift: text = the "
                           "instruction's and its template's, action = the action tokens fed back "
                           "or the rows of a flow's expert, text_and_action = both",
                           choices=("text", "action", "text_and_action"))
    drift_exponent: float = knob(0.5, "attention_drift: power of the drift in the score; the "
                                 "lower, the more the attention decides", low=0.0, high=4.0)
    coverage: float = knob(0.9, "attention_drift with the adaptive schedule: share of the score "
                           "that the recomputed tokens must hold", low=0.0, high=1.0)
    least_tokens: int = knob(8, "attention_drift with the adaptive schedule: fewest tokens "
                             "recomputed; the most is fresh_tokens", low=0, high=4096)
    seed: int = knob(0, "random: seed of the control", low=0, high=2**31)
    # vla_cache
    cache_static: int = knob(130, "vla_cache: most tokens that count as unchanged",
                             low=0, high=4096)
    cache_evicted: int = knob(120, "vla_cache: most attended tokens, recomputed though unchanged",
                              low=0, high=4096)
    cache_attention_layer: int = knob(15, "vla_cache: layer, of 32, whose attention says what is "
                                      "attended", low=0, high=_LAST_LAYER)
    cache_layers: tuple[int, ...] = knob((2, 6, 9, 11), "vla_cache: layers, of 32, at which the "
                                         "reused set grows", low=0, high=_LAST_LAYER)
    cache_damping: float = knob(0.55, "vla_cache: factor on each rise of the reused proportion "
                                "from layer to layer", low=0.0, high=1.0)
    cache_order: str = knob("score", "vla_cache: who is reused first: score = the least changed; "
                            "raster = as in the released code", choices=("score", "raster"))
    # vla_pruner and fastv
    prune_ratio: float = knob(0.5, "vla_pruner, fastv: share of visual tokens dropped",
                              low=0.0, high=0.99)
    prune_layer: int = knob(3, "vla_pruner: first layer, of 32, that runs without the dropped "
                            "tokens", low=1, high=_LAST_LAYER)
    prune_window: int = knob(3, "vla_pruner: w, steps of action attention that are averaged; as "
                             "many steps of an episode go unpruned", low=1, high=1000)
    prune_decay: float = knob(0.8, "vla_pruner: gamma; a step i steps old weighs gamma^i",
                              low=0.0, high=1.0)
    prune_action_rows: str = knob("fed_back", "vla_pruner: rows of the action score: fed_back = of "
                                  "the action tokens, predicting = of those but the last and of "
                                  "the end of the prompt, which predict them (released code)",
                                  choices=("fed_back", "predicting"))
    prune_action_layers: str = knob("latter_half", "vla_pruner: layers of the action score: "
                                    "latter_half (paper), or single = layer 15 of 32 (released "
                                    "code)", choices=("latter_half", "single"))
    fastv_rows: str = knob("all", "fastv: rows of the prompt whose attention ranks tokens: all, or "
                           "last = the last one alone (FastV's released code)",
                           choices=("all", "last"))
    fastv_layer: int = knob(2, "fastv: first layer, of 32, that runs without the dropped tokens",
                            low=1, high=_LAST_LAYER)
    # on top of any selector that reuses
    top_up_to: int = knob(0, "tokens; plans that recompute fewer are filled up by drift: below "
                          "the ridge of the GPU they cost the same. 0 = off, -1 = the ridge as "
                          "measured at start-up", low=-1, high=4096)
    age_limit: int = knob(0, "steps after which a token is recomputed in any case; 0 = never",
                          low=0, high=65535)
    keyframe_every: int = knob(0, "every so many steps everything is recomputed; 0 = never",
                               low=0, high=1_000_000)

    def __post_init__(self) -> None:
        check_knobs(self)
        if self.k1 > self.k2:
            raise SettingError(
                f"k1={self.k1} is above k2={self.k2}: k1 is the lower budget; swap the two"
            )
        if list(self.cache_layers) != sorted(set(self.cache_layers)) or not self.cache_layers:
            raise SettingError(
                f"cache_layers={self.cache_layers}: give rising layer numbers, at least one"
            )

    @property
    def refreshes(self) -> bool:
        """Whether something is recomputed on top of what the selector chooses."""
        return bool(self.top_up_to or self.age_limit or self.keyframe_every)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> SelectionSettings:
        """From parameter names and values; unknown names are an error that lists the known."""
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SettingError(f"unknown selection parameter {unknown[0]!r}; known: "
                               f"{', '.join(sorted(known))}")
        return cls(**values)


def scaled_layer(layer: int, depth: int) -> int:
    """The layer of a decoder of ``depth`` that stands where ``layer``, 0..31, stands in one of 32,
    rounded up but never past the last; a decoder at least that deep takes the number as it is."""
    return layer if depth >= _PAPER_DEPTH else min(-(-layer * depth // _PAPER_DEPTH), depth - 1)
