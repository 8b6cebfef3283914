# SPDX-License-Identifier: Apache-2.0
"""The prompt of OpenVLA and its tokens."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from vla_infoentropy_ros.foreign.text import spelled
from vla_infoentropy_ros.models.adapter import PolicyError, PromptTokens
from vla_infoentropy_ros.models.instruction import (
    check_length,
    check_pieces,
    instruction_words,
)
from vla_infoentropy_ros.models.tokenizer_rules import read_tokenizer, unknown_id

BEFORE = "In: What action should the robot take to "
AFTER = "?\nOut:"
BOS = "<s>"
# In training every answer began behind this piece, an empty word: 29871 in Llama's vocabulary.
# The tokenizer does not emit it at the end of a prompt by itself.
EMPTY_WORD = "\u2581"


class Prompt:
    """Instruction to the token ids behind the visual tokens.

    max_tokens: how many text tokens fit beside BOS, the visual and the action tokens.
    action_bins: the last so many of the vocabulary are action tokens, and no words.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, max_tokens: int, action_bins: int
    ) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.bos_token_id = self._id_of(BOS)
        self.empty_word_id = self._id_of(EMPTY_WORD)
        self.unknown_id = unknown_id(tokenizer)
        self.reserved = {
            *tokenizer.all_special_ids, *tokenizer.get_added_vocab().values(),
            *range(self.vocab_size - action_bins, len(tokenizer)),
        }

    @classmethod
    def load(cls, folder: Path, max_tokens: int, action_bins: int) -> Prompt:
        """From ``tokenizer.json``, which holds the whole pipeline, normaliser included."""
        tokenizer = read_tokenizer(
            folder / "tokenizer.json",
            ": copy tokenizer.json of the base checkpoint (openvla-7b) into the folder",
        )
        return cls(tokenizer, max_tokens, action_bins)

    @property
    def vocab_size(self) -> int:
        """Without tokens added after training, such as <PAD>."""
        return int(self.tokenizer.vocab_size)

    def encode(self, instruction: str) -> PromptTokens:
        """As in training; the words themselves marked for the selectors."""
        words = spelled(instruction_words(instruction))
        encoded = self.tokenizer(BEFORE + words + AFTER, return_offsets_mapping=True)
        ids, spans = list(encoded["input_ids"]), list(encoded["offset_mapping"])
        if ids and ids[0] == self.bos_token_id:  # it stands before the visual tokens
            ids, spans = ids[1:], spans[1:]
        first, last = len(BEFORE), len(BEFORE) + len(words)
        inside = [start < last and end > first and end > start for start, end in spans]
        if ids[-1] != self.empty_word_id:
            ids, inside = [*ids, self.empty_word_id], [*inside, False]
        if self.unknown_id in ids:
            raise PolicyError(f"instruction={instruction!r} has characters the tokenizer lacks")
        said = [index for index, within_words in zip(ids, inside, strict=True) if within_words]
        check_pieces(instruction, said, self.reserved, self._piece)
        check_length(instruction, len(ids), self.max_tokens)
        return PromptTokens(torch.tensor(ids), torch.tensor(inside))

    def _piece(self, index: int) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(index))

    def _id_of(self, piece: str) -> int:
        index = self.tokenizer.get_vocab().get(piece)
        if index is None:
            raise PolicyError(
                f"tokenizer.json has no token {piece!r}; it is not the tokenizer of a Llama model"
            )
        return int(index)
