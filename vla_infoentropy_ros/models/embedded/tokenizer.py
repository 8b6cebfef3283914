# SPDX-License-Identifier: Apache-2.0
"""Whole-word tokenizer: specials, then words, then action bins at the end of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from vla_infoentropy_ros.foreign.budgets import within
from vla_infoentropy_ros.foreign.text import spelled
from vla_infoentropy_ros.models.adapter import PolicyError, PromptTokens
from vla_infoentropy_ros.models.instruction import instruction_words

SPECIALS = ("<bos>", "<pad>", "<act>")


@dataclass(frozen=True)
class WordTokenizer:
    """``words`` in vocabulary order, and the number of action bins that follow them."""

    words: tuple[str, ...]
    bins: int = 256
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.words or len(set(self.words)) != len(self.words):
            raise PolicyError(f"words = {self.words}: must be non-empty and without repetition")
        ids = {word: len(SPECIALS) + index for index, word in enumerate(self.words)}
        object.__setattr__(self, "_ids", ids)

    @property
    def vocab_size(self) -> int:
        """Specials + words + action bins."""
        return len(SPECIALS) + len(self.words) + self.bins

    @property
    def bos_token_id(self) -> int:
        """Id of the token at position 0."""
        return SPECIALS.index("<bos>")

    @property
    def act_token_id(self) -> int:
        """Id of the end-of-prompt token; the first action token is predicted from it."""
        return SPECIALS.index("<act>")

    def encode(self, instruction: str) -> PromptTokens:
        """Words of ``instruction`` and the end-of-prompt token; token_ids (T,) int64.

        Commas do not matter here either.
        """
        words = spelled(instruction_words(instruction)).replace(",", " ").split()
        unknown = [word for word in words if word not in self._ids]
        if unknown:
            raise PolicyError(
                f"instruction={instruction!r}: the embedded policy does not know {unknown}; "
                f"it knows the words {', '.join(self.words)}"
            )
        ids = [self._ids[word] for word in words] + [self.act_token_id]
        within("instruction_tokens", len(ids), "instruction", PolicyError)
        return PromptTokens(
            token_ids=torch.tensor(ids, dtype=torch.int64),
            instruction=torch.tensor([True] * len(words) + [False]),
        )
