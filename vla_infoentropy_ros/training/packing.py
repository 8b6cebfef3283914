# SPDX-License-Identifier: Apache-2.0
"""One picture, six instructions: packed suffixes behind a shared visual prefix.

Sequence: ``[BOS][n visual][suffix 1]...[suffix K]``. A suffix sees the prefix and itself, causally,
so each gives exactly what the plain sequence ``[BOS][visual][suffix]`` gives, at a fraction of
the cost. With n < 256 the foreground tokens alone are kept, at their true positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from vla_infoentropy_ros.models.embedded import EmbeddedPolicy


@dataclass(frozen=True)
class Packed:
    """Outputs of one packed forward.

    visual (B, N, d): all projected visual tokens. hidden (B, K, L, d): the decoder's last hidden
    states of the suffixes. attention (B, K, 2, n): layer-1 attention, mean over half the heads,
    of the words that name the cube and the plate, to the kept visual tokens; empty without words.
    """

    visual: torch.Tensor
    hidden: torch.Tensor
    attention: torch.Tensor


def foreground(
    images: torch.Tensor, count: int, patch: int, background_share: float = 0.2
) -> torch.Tensor:
    """Mostly the patches that differ most from the table, ascending; (B, count) int64.

    images (B, H, W, 3) uint8. The table is one colour, so the median pixel is the table. A share
    of random other patches comes along, or the decoder would not learn to pass over empty table.
    """
    score = patch_contrast(images, patch)
    return foreground_of(score, count, background_share)


def patch_contrast(images: torch.Tensor, patch: int) -> torch.Tensor:
    """How much each patch differs from the table, (B, N) float32; images (B, H, W, 3) uint8."""
    batch, height, width, _ = images.shape
    thin = images[:, ::2, ::2].to(torch.int16)
    table = thin.flatten(1, 2)[:, ::7].median(dim=1).values  # (B, 3)
    contrast = (thin - table[:, None, None]).abs().sum(-1).to(torch.float32)
    half = patch // 2
    rows, columns = height // patch, width // patch
    return contrast.view(batch, rows, half, columns, half).mean(dim=(2, 4)).flatten(1)


def foreground_of(
    score: torch.Tensor, count: int, background_share: float = 0.2
) -> torch.Tensor:
    """:func:`foreground` by the patches' contrast (B, N)."""
    best = score.topk(count - int(background_share * count), dim=1).indices
    order = torch.rand_like(score).scatter_(1, best, 2.0)
    return order.topk(count, dim=1).indices.sort(dim=1).values


def block_mask(prefix: int, suffixes: int, length: int,
               device: torch.device | str = "cpu") -> torch.Tensor:
    """Who sees whom, (1, 1, S, S) bool with S = prefix + suffixes * length."""
    total = prefix + suffixes * length
    mask = torch.ones(total, total, dtype=torch.bool, device=device).tril()
    group = torch.full((total,), -1, device=device)
    group[prefix:] = torch.arange(suffixes, device=device).repeat_interleave(
        length, output_size=suffixes * length)
    mask &= (group[None, :] == -1) | (group[None, :] == group[:, None])
    return mask[None, None]


def packed_forward(
    policy: EmbeddedPolicy,
    pixels: torch.Tensor,
    suffixes: torch.Tensor,
    words: tuple[int, int] | None,
    keep: torch.Tensor | None,
) -> Packed:
    """Run the policy on pictures with K suffixes each.

    pixels (B, 3, H, W) in [-1, 1]; suffixes (B, K, L) token ids; words: places in a suffix of
    the words that name cube and plate, None to leave attention alone; keep (B, n) visual tokens to
    keep, None for all.
    """
    decoder = policy.decoder
    batch, count, length = suffixes.shape
    visual = policy.network.embed_vision(pixels)
    total = visual.shape[1]
    if keep is None:
        keep = torch.arange(total, device=pixels.device).expand(batch, total)
    shown = visual.gather(1, keep[..., None].expand(-1, -1, visual.shape[-1]))
    prefix = 1 + shown.shape[1]
    embed = decoder.get_input_embeddings()
    device = pixels.device
    bos = embed(torch.full((batch, 1), policy.bos_token_id, device=device))
    text = embed(suffixes.flatten(1))
    inputs = torch.cat([bos, shown.to(bos.dtype), text], dim=1)
    places = torch.arange(total + 1, total + 1 + length, device=device).repeat(count)
    first = torch.zeros(batch, 1, dtype=torch.int64, device=device)
    positions = torch.cat([first, keep + 1, places.expand(batch, -1)], dim=1)
    out = decoder.model(
        inputs_embeds=inputs,
        attention_mask=block_mask(prefix, count, length, device),
        position_ids=positions,
        use_cache=False,
        output_hidden_states=True,
    )
    hidden = out.last_hidden_state[:, prefix:].reshape(batch, count, length, -1)
    attention = visual.new_zeros(0)
    if words is not None:
        attention = _word_attention(policy, out.hidden_states[1], positions, prefix, count, length,
                                    words)
    return Packed(visual, hidden, attention)


def _word_attention(
    policy: EmbeddedPolicy,
    states: torch.Tensor,
    positions: torch.Tensor,
    prefix: int,
    count: int,
    length: int,
    words: tuple[int, int],
) -> torch.Tensor:
    """Recompute layer 1's attention for these rows alone; (B, K, 2, n).

    Over the prefix's keys only: leaving out the few words before the row changes the softmax's
    denominator, not which patch wins.
    """
    layer = policy.decoder.model.layers[1]
    normed = layer.input_layernorm(states)
    batch, heads = normed.shape[0], policy.config.architecture.heads
    rows = torch.tensor([prefix + k * length + word for k in range(count) for word in words])
    query = layer.self_attn.q_proj(normed[:, rows]).view(batch, len(rows), heads, -1)
    key = layer.self_attn.k_proj(normed[:, :prefix]).view(batch, prefix, heads, -1)
    cosine, sine = policy.decoder.model.rotary_emb(normed, positions)
    query = apply_rotary_pos_emb(
        query.transpose(1, 2), query.transpose(1, 2), cosine[:, rows], sine[:, rows]
    )[0]
    key = apply_rotary_pos_emb(
        key.transpose(1, 2), key.transpose(1, 2), cosine[:, :prefix], sine[:, :prefix]
    )[0]
    scores = (query.float() @ key.float().transpose(2, 3)) * query.shape[-1] ** -0.5
    shares = scores.softmax(dim=-1)[..., 1:]  # without BOS
    # Half of the heads are led to the object, the other half stay free.
    return shares[:, : heads // 2].mean(dim=1).view(batch, count, len(words), -1)
