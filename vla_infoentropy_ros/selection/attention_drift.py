# SPDX-License-Identifier: Apache-2.0
"""Our selector: recompute what went stale, weighted by how much the policy looks at it."""

from __future__ import annotations

from dataclasses import replace

import torch

from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import Attention, AttentionNeeds
from vla_infoentropy_ros.selection import reasons
from vla_infoentropy_ros.selection.base import (
    Selection,
    SelectionInput,
    found,
    indices,
    probed,
    with_bits,
)
from vla_infoentropy_ros.selection.ranking import covering, top, top_count
from vla_infoentropy_ros.selection.schedule import check_schedule
from vla_infoentropy_ros.selection.settings import SelectionSettings
from vla_infoentropy_ros.selection.staleness import drift


class AttentionDrift:
    """The top ``fresh_tokens`` by drift^p x (m + mean m), p ``drift_exponent``.

    m is last step's attention mass on the token: to first order, drift x m is how much the rows
    that decide the action would change if the token were brought up to date. A token's keys and
    values of deeper layers go stale by what changed around it too, of which its own drift tells
    nothing: so p is below 1, and attention decides more. The mean is added
    so that a token nobody looked at yet still comes to its turn. The budget is fixed: a threshold
    would starve when the arm stalls. With the adaptive schedule it is the fewest tokens that
    hold ``coverage`` of the score, between ``least_tokens`` and ``fresh_tokens``.
    """

    name = "attention_drift"
    reuses = True
    prunes = False

    def __init__(self, settings: SelectionSettings, schedule: str = "constant") -> None:
        check_schedule(schedule)
        self.settings = settings
        # The other schedules divide a budget between two signals; this selector has one.
        self.schedule = schedule if schedule == "adaptive" else ""

    def needs(self, depth: int) -> AttentionNeeds:
        rows = self.settings.drift_rows
        return replace(probed(self.settings, depth), action=rows != "text")

    def select(self, given: SelectionInput) -> Selection:
        settings = self.settings
        mass = attention_mass(given.last_attention, settings.drift_rows)
        change = drift(given.embeddings, given.reference_embeddings)
        score = given.per_view(change**settings.drift_exponent * (mass + mass.mean()))
        # Of a picture that stands still all drift is 0: then the oldest take turns.
        ages = given.per_view(given.ages)
        fresh = top(score, settings.fresh_tokens, ages)
        if self.schedule:
            fresh &= covering(score, settings.coverage) | top(score, settings.least_tokens, ages)
            (chosen,) = found(fresh.view(1, -1))
        else:
            chosen = indices(fresh, top_count(score, settings.fresh_tokens))
        return Selection(
            TokenPlan.reuse(chosen, fresh.numel()),
            with_bits((fresh, reasons.STALE)),
            {"attention_mass": mass, "drift": change},
        )


def attention_mass(attention: Attention, rows: str = "text") -> torch.Tensor:
    """(N,) float32: mean over layers, heads and rows; rows: of the "text", of the "action", or
    "text_and_action"."""
    read = [getattr(attention, name) for name in rows.split("_and_")]
    return torch.cat(read, 1).mean((0, 1))
