# SPDX-License-Identifier: Apache-2.0
"""One decoder layer of a Llama, or of what is built like one (Gemma), over chosen rows.

The weights are those of transformers' modules, and so are the numbers, bit for bit; the operators
are fewer, since at batch 1 a GPU waits for each to be launched.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from vla_infoentropy_ros.engine.requirements import check_transformers

check_transformers()  # before the names below, which other releases lack

from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: E402
from transformers.models.llama.modeling_llama import LlamaRMSNorm  # noqa: E402


class ReadsPrefix(nn.Module):
    """Attention of an expert's layer that looks at the prefix in a way of its own, and keeps no
    keys and values in the cache. A class to inherit from: every layer of every pass is asked
    whether it is one, and asking a protocol takes as long as a small layer's norm."""

    def across(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (1, n, d), normed, to what they read, (1, n, d)."""
        raise NotImplementedError


def normed(norm: Any, hidden: torch.Tensor) -> torch.Tensor:
    """``norm(hidden)``, in two operators where it is Llama's: the weight comes after rounding."""
    if not isinstance(norm, LlamaRMSNorm):
        other: torch.Tensor = norm(hidden)
        return other
    return norm.weight * functional.rms_norm(hidden, hidden.shape[-1:], eps=norm.variance_epsilon)


def projected(
    attention: Any, rows: torch.Tensor, rotary: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """rows: (1, n, d), normed. rotary: (2, 1, 1, n, d_head), cosines and sines of their positions.
    Returns queries (1, H, n, d_head), keys and values (1, Hkv, n, d_head)."""
    query = split(attention, attention.q_proj, rows)
    together = torch.cat((query, split(attention, attention.k_proj, rows)), 1)
    turned, heads = rotated(together, *rotary), query.shape[1]
    return turned[:, :heads], turned[:, heads:], split(attention, attention.v_proj, rows)


def split(attention: Any, projection: Any, rows: torch.Tensor) -> torch.Tensor:
    """``projection`` of rows (1, n, d), by heads: (1, heads, n, d_head)."""
    flat: torch.Tensor = projection(rows)
    return flat.view(*rows.shape[:2], -1, attention.head_dim).transpose(1, 2)


def rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding, the two halves of a head being the two coordinates of its pairs.

    heads: (1, H, n, d_head); cos, sin: (1, 1, n, d_head).
    """
    half = heads.shape[-1] // 2
    turned = heads * cos
    turned[..., :half].sub_(heads[..., half:] * sin[..., :half])
    turned[..., half:].add_(heads[..., :half] * sin[..., half:])
    return turned


def attended(
    attention: Any, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    """(1, n, d): ``query`` over all ``keys`` that ``mask`` (1, 1, n, S) bool allows, None for all,
    behind the output projection."""
    mixed, _ = sdpa_attention_forward(
        attention, query, keys, values, mask, scaling=attention.scaling, is_causal=False)
    out: torch.Tensor = attention.o_proj(mixed.reshape(*mixed.shape[:2], -1))
    return out
