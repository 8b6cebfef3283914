# SPDX-License-Identifier: Apache-2.0
"""One dense step by itself, with nothing before it: what a policy is asked where it is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.engine.heads import Decision, Turn
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.stopwatch import Stopwatch
from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.plugins import containing


class NoOwnPass(Exception):
    """A backbone cannot be run by itself on embeddings."""


def embed_prompt(
    policy: PolicyAdapter, layout: Layout, token_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of what stands before the visual tokens, (bos, d), and of the text behind them,
    (T, d). token_ids: (T,) int64 on the policy's device."""
    leading = torch.full((layout.bos,), policy.bos_token_id, device=token_ids.device)
    embed = policy.backbone.embed_tokens
    return embed(leading), embed(token_ids)


@torch.inference_mode()
def decide_alone(
    policy: PolicyAdapter, images: Sequence[NDArray[np.uint8]], instruction: str,
    state: float = 0.0, arrange: Callable[[Layout], Layout] = lambda layout: layout,
) -> Decision:
    """What the head decides on images, (h, w, 3) uint8 RGB each, by the noise of an episode's first
    step. state: every number of the robot's state, normalised; 0 is the middle of those trained
    with. arrange: who sees whom, from the head's own layout. Raises as the policy does.
    """
    head, device, taken = policy.head, policy.backbone.device, policy.proprioception
    ids = policy.tokenize(instruction).token_ids.to(device)
    visual = policy.embed_vision(policy.preprocess(images).pixels)
    with containing(policy, "a step"):
        layout = head.layout(visual.shape[0], ids.shape[0])
        bos, text = embed_prompt(policy, layout, ids)
        given = None if taken is None else torch.full((taken.size,), state, device=device)
        return head.act(
            PartialDecoder(policy.backbone, arrange(layout), ()),
            torch.cat((bos, visual, text)),
            TokenPlan.dense(visual.shape[0], device),
            Turn(0, None, given, Stopwatch(device)),
        )


@torch.inference_mode()
def run_twice(
    policy: PolicyAdapter, visual: torch.Tensor, token_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states behind the visual tokens ``visual`` (N, d), of one dense pass with the text
    ``token_ids`` (T,): by the backbone itself and by the engine, (1, S - tail, d) each.

    Raises NoOwnPass for a backbone that is no model of transformers.
    """
    device = policy.backbone.device
    layout = policy.head.layout(visual.shape[0], token_ids.shape[0])
    bos, text = embed_prompt(policy, layout, token_ids.to(device))
    sequence = torch.cat((bos, visual, text))[None]
    try:
        own = policy.backbone(inputs_embeds=sequence, use_cache=False).last_hidden_state
    except (TypeError, AttributeError) as error:
        raise NoOwnPass from error
    engine = PartialDecoder(policy.backbone, layout, ()).prefill(
        sequence, TokenPlan.dense(visual.shape[0], device))
    return own[:, layout.tail :], engine
