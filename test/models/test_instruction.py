# SPDX-License-Identifier: Apache-2.0
"""What an instruction may be, whatever policy hears it, and how it is spelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_infoentropy_ros.foreign.text import spelled
from vla_infoentropy_ros.models.adapter import PolicyAdapter, PolicyError
from vla_infoentropy_ros.models.instruction import instruction_words
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.models.openvla import OpenVLAPolicy
from vla_infoentropy_ros.models.openvla.prompt import Prompt
from vla_infoentropy_ros.models.openvla.tiny import VOCAB, tiny_tokenizer
from vla_infoentropy_ros.selection import build_selector
from vla_infoentropy_ros.session import Session

WORDS = "put the red cube on the blue plate"
SPELLINGS = [
    "Put the red cube on the blue plate", "  put the RED cube\ton the\n blue plate  ",
    "put the red cube on the blue plate.", "put the red cube on the blue plate ... ",
    "PUT THE RED CUBE ON THE BLUE PLATE!", "put the red cube on the blue plate?",
    "put the red\u00a0cube on the blue plate",
]


@pytest.fixture(scope="module")
def embedded() -> PolicyAdapter:
    return load_policy("embedded")


@pytest.mark.parametrize("text", SPELLINGS)
def test_spellings_give_the_same_tokens(
    policy: OpenVLAPolicy, embedded: PolicyAdapter, text: str
) -> None:
    assert spelled(text) == WORDS and instruction_words(text) == text.strip()
    for each in (policy, embedded):
        assert each.tokenize(text).same_as(each.tokenize(WORDS))


def test_composed_and_decomposed_letters() -> None:
    assert spelled("cafe\u0301") == spelled("caf\u00e9") == "caf\u00e9"


@pytest.mark.parametrize(("text", "word"), [
    ("", "say what to do"), ("   ", "say what to do"), (" . ", "say what to do"),
    (None, "say what to do"), (3, "say what to do"),
    ("put the \ud800 cube", "U+D800"), ("put the\u200b cube", "U+200B"),
    ("put \x1b[31m the cube", "U+001B"), ("put \x00 it", "U+0000"), ("put \u202e it", "U+202E"),
    ("put " * 300, "1,200 characters, at most 1,000"),
])
def test_what_is_no_instruction(
    policy: OpenVLAPolicy, embedded: PolicyAdapter, text: Any, word: str
) -> None:
    for each in (policy, embedded):
        with pytest.raises(PolicyError) as caught:
            each.tokenize(text)
        assert word in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize("place", ["{} the red block", "pick {} up", "pick{}up", "pick up {}"])
@pytest.mark.parametrize("sign", ["</s>", "<s>", "<PAD>", "\u7d66", "\u0446"])
def test_signs_of_the_tokenizer_are_no_words(tmp_path: Path, sign: str, place: str) -> None:
    """`</s>` ends a text, and the last 256 pieces of Llama's vocabulary, single characters that
    are rare in English, are actions: the policy would hear what nobody said."""
    state = json.loads(tiny_tokenizer().to_str())
    vocab = state["model"]["vocab"]
    vocab["\u7d66"], vocab["\u0446"] = vocab.pop("<rare_575>"), vocab.pop("<rare_320>")
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    prompt = Prompt.load(tmp_path, max_tokens=100, action_bins=256)
    prompt.encode(place.format("red"))
    lower = place.format(sign.lower())
    if sign == "<PAD>":  # in lower case it is no sign any more, but text
        with pytest.raises(PolicyError, match="lacks"):
            prompt.encode(lower)
        return
    with pytest.raises(PolicyError, match="an action or for a sign of its own"):
        prompt.encode(lower)


def test_another_spelling_goes_on_with_the_episode(embedded: PolicyAdapter) -> None:
    session = Session(embedded, build_selector("attention_drift"))
    picture = np.zeros((224, 224, 3), np.uint8)
    session.set_instruction(WORDS)
    session.step([picture])
    for text in SPELLINGS:
        session.set_instruction(text)
        result = session.step([picture])
        assert not result.invalidated and result.t > 0, text
    session.set_instruction("put the red cube on the white plate")
    assert session.step([picture]).invalidated == "instruction_changed"


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_is_tokenised_or_refused(policy: OpenVLAPolicy, text: str) -> None:
    try:
        tokens = policy.tokenize(text)
    except PolicyError as error:
        assert str(error).isprintable() and len(str(error)) < 400
        return
    words = tokens.token_ids[tokens.instruction]
    assert words.shape[0] > 0 and int(words.max()) < VOCAB - 256
    assert not torch.isin(words, torch.tensor([0, 1, 2])).any()
    assert policy.tokenize(spelled(text)).same_as(tokens), "spelling twice changes nothing"
