# SPDX-License-Identifier: Apache-2.0
"""Attention information: do few words claim a patch, or all alike? (paper, eqs 4-6)"""

from __future__ import annotations

import math

import torch

# Tokens below this quantile of attention mass carry a ratio of noise; `renorm` ignores them.
_MASS_GATE = 0.25


def attention_information(
    scores: torch.Tensor, mode: str = "paper", temperature: float = 1e-3
) -> torch.Tensor:
    """I(i) = 1 - H(q(.|i)) / log |W| of every visual token i.

    scores: (W, V, n), s(w, i), the mean over layers and heads of the post-softmax attention from
    word w to visual token i of a view. mode: "paper", q = softmax over w of s; "renorm",
    q = s / sum_w s with the tokens in the lowest quarter of attention mass of their view set to
    0; "temperature", q = softmax of s / temperature. Returns (V, n) float64 in [0, 1]; all 0 for
    a single word, which cannot discriminate.

    s is about 1e-3, so in the paper's form q is uniform but for a part in 1e6 and 1 - H / log|W|
    would cancel; the same number is computed as KL(q || uniform) / log |W| in double precision.
    """
    words = scores.shape[0]
    s = scores.double()
    if words == 1:
        return torch.zeros_like(s[0])
    if mode == "renorm":
        mass = s.sum(0)
        q = s / mass.clamp_min(torch.finfo(torch.float64).tiny)
        log_q = q.clamp_min(torch.finfo(torch.float64).tiny).log()
        information = (q * (log_q + math.log(words))).sum(0) / math.log(words)
        gate = mass >= torch.quantile(mass, _MASS_GATE, dim=-1, keepdim=True)
        return torch.where(gate, information, 0.0).clamp(0.0, 1.0)
    if mode == "temperature":
        s = s / temperature
    elif mode != "paper":
        raise ValueError(f"attention mode {mode!r}: choose paper, renorm or temperature")
    log_q = s.log_softmax(0)
    information = (log_q.exp() * (log_q + math.log(words))).sum(0) / math.log(words)
    return information.clamp(0.0, 1.0)
