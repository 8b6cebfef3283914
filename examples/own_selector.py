# SPDX-License-Identifier: Apache-2.0
"""A selector of your own: every other token in this step, the others in the next.

The package that holds it names it, in its pyproject.toml:

    [project.entry-points."vla_infoentropy_ros.selectors"]
    checkerboard = "own_selector:Checkerboard"

Then every command knows it: selector:=checkerboard+window, --selector checkerboard.
"""

import torch

from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import AttentionNeeds
from vla_infoentropy_ros.selection import Selection, SelectionInput, SelectionSettings, reasons


class Checkerboard:
    name = "checkerboard"
    schedule = ""  # it has none
    reuses = True  # tokens that it does not recompute keep the keys and values of a step before
    prunes = False

    def __init__(self, settings: SelectionSettings, schedule: str) -> None:
        """settings: all of selection.*; take what you need. schedule: of ours, by name."""

    def needs(self, depth: int) -> AttentionNeeds:
        return AttentionNeeds(())  # or layers, whose attention select() finds in given.attention

    def select(self, given: SelectionInput) -> Selection:
        """Pure: equal input, equal plan. What it must remember goes into Selection.state."""
        tokens = torch.arange(given.embeddings.shape[0], device=given.embeddings.device)
        fresh = (tokens + given.t) % 2 == 0
        why = fresh.to(torch.uint8) * reasons.CONTROL
        return Selection(TokenPlan.reuse(tokens[fresh], len(tokens)), why)
