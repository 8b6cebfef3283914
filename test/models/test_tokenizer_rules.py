# SPDX-License-Identifier: Apache-2.0
"""Tokenizers whose rules explode are refused before they are run; published kinds are not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.embedded.config import Architecture
from vla_infoentropy_ros.models.embedded.network import EmbeddedNetwork
from vla_infoentropy_ros.models.openvla.prompt import Prompt
from vla_infoentropy_ros.models.openvla.tiny import tiny_tokenizer
from vla_infoentropy_ros.models.tokenizer_rules import check_tokenizer

LLAMA = {
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    ]},
    "pre_tokenizer": None,
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A"}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    },
}
GEMMA = {
    "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "invert": False,
                      "behavior": "MergedWithPrevious"},
    "padding": {"strategy": "BatchLongest", "pad_id": 0},
}
SMOL = {
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "use_regex": True},
    ]},
}


def _doubling(times: int) -> dict[str, Any]:
    rule = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    return {"normalizer": {"type": "Sequence", "normalizers": [rule] * times}}


def _written(folder: Path, content: Any) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("content", [LLAMA, GEMMA, SMOL, _doubling(3)])
def test_published_kinds_pass(tmp_path: Path, content: dict[str, Any]) -> None:
    check_tokenizer(_written(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (_doubling(60), "16 times, at most 8 are taken of the length"),
        ({"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "a" * 9}},
         "10 times, at most 8"),
        ({"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10**6}},
         "1,000,000 times, at most 8"),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 100}}, "100 times, at most 8"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}},
         "searches by a regular expression"),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|a)*b"}}},
         "searches by a regular expression"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AA=="}}, "is not known"),
        ({"normalizer": {"type": "Sequence"}}, "is not known here"),
        ({"normalizer": "Lowercase"}, "is not known here"),
        ({"post_processor": LLAMA["post_processor"] | {
            "special_tokens": {"<s>": {"ids": [1] * 1000}}}}, "is not known here"),
        ({"padding": {"strategy": {"Fixed": 10**9}}}, "makes every text longer"),
        ([], "holds no tokenizer"),
    ],
)
def test_rules_that_explode(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        check_tokenizer(_written(tmp_path, content))


def test_a_bomb_beside_a_checkpoint_is_refused_in_no_time(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tiny_tokenizer().save(str(path))
    Prompt.load(tmp_path, 100, 256)
    path.write_text(json.dumps(json.loads(path.read_text()) | _doubling(60)))
    began_s = time.process_time()
    with pytest.raises(PolicyError, match="at most 8 are taken"):
        Prompt.load(tmp_path, 100, 256)
    assert time.process_time() - began_s < 1.0


def test_a_fifo_for_a_tokenizer_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(PolicyError):
        Prompt.load(tmp_path, 100, 256)
    with pytest.raises(PolicyError, match="is a FIFO"):
        check_tokenizer(tmp_path / "tokenizer.json")


def test_weights_are_counted_before_they_are_made() -> None:
    sizes = Architecture()
    made = sum(each.numel() for each in EmbeddedNetwork(sizes, 300).parameters())
    assert sizes.weights(300) == pytest.approx(made, rel=0.02)
