# SPDX-License-Identifier: Apache-2.0
"""The prompt of SmolVLA and pi0: the instruction as it was written, and a line end."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from vla_infoentropy_ros.models.adapter import PolicyError, PromptTokens
from vla_infoentropy_ros.models.instruction import (
    check_length,
    check_pieces,
    check_seen,
    instruction_words,
)
from vla_infoentropy_ros.models.tokenizer_rules import read_tokenizer, unknown_id

AFTER = "\n"
_FROM_ORIGIN = "take the tokenizer.json of the model that the policy was made of"


class NewlinePrompt:
    """Instruction to the token ids behind the visual tokens.

    max_tokens: that training cut its prompts to. vocabulary: rows of the embedding table. first:
    the token before the words, "" for none. origin: the model whose tokenizer this is.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, max_tokens: int, vocabulary: int, first: str = "",
        origin: str = "",
    ) -> None:
        self.tokenizer, self.max_tokens, self.origin = tokenizer, max_tokens, origin
        self.first = [] if not first else [tokenizer.get_vocab().get(first)]
        if None in self.first:
            raise PolicyError(f"tokenizer.json has no token {first!r}; {_FROM_ORIGIN}")
        self.unknown_id = unknown_id(tokenizer)
        self.reserved = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
        # Signs that were added are no words: PaliGemma's <image> stands behind its last row.
        if tokenizer.vocab_size > vocabulary:
            raise PolicyError(
                f"tokenizer.json has {tokenizer.vocab_size} tokens, the model {vocabulary}; "
                f"{_FROM_ORIGIN}"
            )

    @classmethod
    def load(
        cls, folder: Path, max_tokens: int, vocabulary: int, origin: str, first: str = ""
    ) -> NewlinePrompt:
        """From ``tokenizer.json``; origin: where a checkpoint without one takes it from."""
        tokenizer = read_tokenizer(
            folder / "tokenizer.json",
            ", and policies of this kind are published without it: copy tokenizer.json of "
            f"{origin} into a folder together with the checkpoint, and name that folder as model",
        )
        return cls(tokenizer, max_tokens, vocabulary, first, origin)

    def encode(self, instruction: str) -> PromptTokens:
        """As in training, which took its data set's capitals and full stops as they stood; the
        words themselves marked for the selectors."""
        words = instruction_words(instruction)
        check_seen(instruction, words)
        encoded = self.tokenizer(words + AFTER, return_offsets_mapping=True)
        ids, spans = list(encoded["input_ids"]), list(encoded["offset_mapping"])
        inside = [start < len(words) and end > start for start, end in spans]
        if ids[: len(self.first)] != self.first:  # some tokenizers put it there themselves
            ids, inside = self.first + ids, [False, *inside]
        if self.unknown_id in ids:
            raise PolicyError(f"instruction={instruction!r} has characters the tokenizer lacks")
        said = [index for index, within_words in zip(ids, inside, strict=True) if within_words]
        check_pieces(
            instruction, said, self.reserved,
            lambda index: str(self.tokenizer.convert_ids_to_tokens(index)),
        )
        check_length(instruction, len(ids), self.max_tokens)
        return PromptTokens(torch.tensor(ids), torch.tensor(inside))
