# SPDX-License-Identifier: Apache-2.0
"""Policies for node tests: the tiny random one, whose actions follow a script.

Given to the node by its parameter model; nothing of this is in the shipped node.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.models.adapter import Action, PolicyError
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.proprioception import Proprioception

STEP = (0.02, 0.0, -0.01, 0.0, 0.0, 0.1, 1.0)
"""What the scripted policy does: m and rad per 0.2 s, gripper open."""


@dataclass
class Script:
    """What the next steps do; tests change it while the node runs."""

    values: tuple[float, ...] = STEP
    further: tuple[tuple[float, ...], ...] = ()  # the chunk's actions behind values
    delay_s: float = 0.0
    error: BaseException | None = None
    unknown: str = ""  # an instruction at which tokenize breaks
    seen: list[tuple[int, ...]] = field(default_factory=list)  # image shapes


SCRIPT = Script()
LOAD = f"{__name__}:load"
"""A value of ``model``; behind another colon stands the kind."""


class ScriptedPolicy(TinyPolicy):
    """Real session, cache and decoder; only the last line is scripted."""

    revision = "scripted"

    def preprocess(self, images):
        SCRIPT.seen.append(images[0].shape)
        return super().preprocess(images)

    def tokenize(self, instruction):
        if instruction == SCRIPT.unknown:
            raise KeyError(instruction)
        return super().tokenize(instruction)

    def decode_action(self, token_ids: Sequence[int]) -> Action:
        time.sleep(SCRIPT.delay_s)
        if SCRIPT.error is not None:
            raise SCRIPT.error
        action = super().decode_action(token_ids)
        chunk = np.array((SCRIPT.values, *SCRIPT.further))
        return Action(chunk[0], action.normalised, action.token_ids, chunk)


def load(kind: str, options: LoadOptions) -> ScriptedPolicy:
    """What `LOAD` names. ``kind`` slow takes 0.2 s per step; two_views needs a wrist camera;
    chunks decides four actions at once; with_state:N takes N numbers of the robot. Of the options,
    the control period and the rotation are heeded."""
    if kind == "missing":
        raise PolicyError("model=missing: no such checkpoint; give an existing folder")
    if kind == "slow":
        SCRIPT.delay_s = 0.2
    policy = ScriptedPolicy(views={"two_views": 2, "three_views": 3}.get(kind, 1))
    if kind.startswith("with_state"):
        size = int(kind.partition(":")[2] or 3)
        policy.proprioception = Proprioception(np.zeros(size), np.ones(size))
    if kind == "chunks":
        policy.head.horizon = 4
    own = policy.convention
    policy.convention = replace(
        own, rotation=options.rotation or own.rotation,
        control_period_s=options.control_period_s or own.control_period_s,
    )
    return policy
