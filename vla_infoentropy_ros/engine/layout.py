# SPDX-License-Identifier: Apache-2.0
"""Where every row of the sequence stands and which rows see which: all that the engine knows of a
model family."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Layout:
    """``[BOS][visual tokens][text][state][action]``; a row's position is its slot in the cache.

    together: BOS, visual and text rows see one another, later rows aside;
    else each row sees those up to itself. state: rows behind the text that see all of it
    and are seen by the action rows alone. action_blocks: sizes of the groups of action rows that
    see one another; () stands for single rows, which is causal.
    """

    visual: int
    text: int
    action: int
    bos: int = 1
    state: int = 0
    together: bool = False
    action_blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        sizes = (self.visual, self.text, self.action, self.bos, self.state)
        if min(sizes) < 0 or self.visual < 1 or self.text < 1:
            raise ValueError(f"{self}: visual and text must be >= 1, the other sizes >= 0")
        if self.action_blocks and sum(self.action_blocks) != self.action:
            raise ValueError(f"{self}: action_blocks must sum to action")

    @property
    def tail(self) -> int:
        """Position of the first text token."""
        return self.bos + self.visual

    @property
    def prompt(self) -> int:
        """Length of the prompt; position of the first action row."""
        return self.tail + self.text + self.state

    @property
    def total(self) -> int:
        return self.prompt + self.action

    @property
    def visual_columns(self) -> slice:
        """Positions of the visual tokens."""
        return slice(self.bos, self.tail)

    def always_leading(self, everything: bool) -> int:
        """Rows before the visual tokens that a pass computes anew.

        A BOS that sees itself alone never changes: it is computed only along with every visual
        token, so that a plan with nothing to reuse is the dense pass, row for row. One that sees
        the picture is as fresh as the text.
        """
        return self.bos if everything or self.together else 0

    def order(self) -> list[int]:
        """(total,) a number for every row, never falling; a row sees those of numbers up to its
        own."""
        seen = self.tail + self.text
        numbers = [0] * seen if self.together else list(range(seen))
        numbers += [numbers[-1] + 1] * self.state
        for size in self.action_blocks or (1,) * self.action:
            numbers += [numbers[-1] + 1] * size
        return numbers

    def mask(self, device: torch.device) -> torch.Tensor:
        """(total, total) bool: row i may look at row j."""
        order = torch.tensor(self.order(), device=device)
        return order[None, :] <= order[:, None]

    def open(self, first: int, length: int) -> bool:
        """Whether rows from ``first`` on may see all of the first ``length`` rows, so that no
        mask is needed."""
        order = self.order()
        return order[first] >= order[length - 1]
