# SPDX-License-Identifier: Apache-2.0
"""One rule of what an instruction may be, for all policies; how it is spelled is each prompt's.

OpenVLA and the embedded policies were trained on plain lower-case words: their prompts take off
what a person adds to them (capitals, blanks, a full stop). LeRobot's policies heard the text of
their data set as it stood. What is no text (characters without a shape, pieces that the tokenizer
reads as its own signs or as actions) is refused by all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from vla_infoentropy_ros.foreign.budgets import within
from vla_infoentropy_ros.foreign.text import shown, spelled
from vla_infoentropy_ros.models.adapter import PolicyError


def instruction_words(text: str) -> str:
    """What was asked, without the blanks around it. Raises PolicyError for what says nothing or
    is no text."""
    if not isinstance(text, str):
        raise PolicyError(f"instruction={shown(text)}: say what to do, like 'open the box'")
    within("instruction_characters", len(text), "instruction", PolicyError)
    words = spelled(text)
    if not words:
        raise PolicyError(f"instruction={shown(text)}: say what to do, like 'open the box'")
    check_seen(text, words)
    return text.strip()


def check_seen(text: str, words: str) -> None:
    """Raise PolicyError where ``words``, a spelling of ``text``, hold a character without a shape.
    """
    unseen = next((character for character in words if not character.isprintable()), None)
    if unseen is not None:
        raise PolicyError(
            f"instruction={shown(text)} holds U+{ord(unseen):04X}, a character that nobody sees; "
            "type the text anew"
        )


def check_pieces(
    text: str, ids: Iterable[int], reserved: Collection[int], piece: Callable[[int], str]
) -> None:
    """Raise PolicyError where an instruction's tokens are none of words.

    ids: the instruction's tokens. reserved: ids that stand for something else to the policy, like
    the end of a text or an action. piece: how the tokenizer writes one.
    """
    for index in ids:
        if index in reserved:
            raise PolicyError(
                f"instruction={shown(text)}: the tokenizer reads a part of it as "
                f"{shown(piece(index))}, which stands for an action or for a sign of its own; use "
                "other words"
            )


def check_length(text: str, tokens: int, room: int) -> None:
    """Raise PolicyError for more tokens, template included, than there is room for."""
    within("instruction_tokens", tokens, "instruction", PolicyError)
    if tokens > room:
        raise PolicyError(
            f"instruction={shown(text)}: {tokens} tokens with its template, at most {room} fit; "
            "say it in fewer words"
        )
