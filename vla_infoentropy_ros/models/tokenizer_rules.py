# SPDX-License-Identifier: Apache-2.0
"""A tokenizer.json looked through before a library runs it on a text.

It is a program: rules rewrite the text one after the other. Fifty of them that double it make
1,000 characters into a quadrillion, and a regular expression can take years over thirty.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from transformers import PreTrainedTokenizerFast

from vla_infoentropy_ros.foreign import files
from vla_infoentropy_ros.foreign.budgets import within
from vla_infoentropy_ros.foreign.text import one_line, shown
from vla_infoentropy_ros.models.adapter import PolicyError

# Rules that make of a text at most another of its length, and a sign or two around a word.
_STEADY = {
    "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Strip", "StripAccents", "Nmt", "BertNormalizer",
    "ByteLevel", "Metaspace", "Split", "Whitespace", "WhitespaceSplit", "Digits", "Punctuation",
    "BertPreTokenizer", "UnicodeScripts", "CharDelimiterSplit", "RobertaProcessing",
    "BertProcessing", "TemplateProcessing",
}  # fmt: skip
_MOST_SIGNS = 64  # tokens that a template puts around a text
_REMEDY = "take the tokenizer.json that the checkpoint was published with"


def read_tokenizer(path: Path, remedy: str) -> PreTrainedTokenizerFast:
    """The tokenizer, its rules looked through first; remedy: where there is no file. Raises
    PolicyError."""
    if not path.is_file():
        raise PolicyError(f"{path} is missing{remedy}")
    try:
        check_tokenizer(path)
        return PreTrainedTokenizerFast(tokenizer_file=str(path))
    except PolicyError:
        raise
    except Exception as error:  # the Rust library raises bare Exception
        raise PolicyError(f"{path} cannot be read: {one_line(error)}") from error


def unknown_id(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """The token that stands for whatever a tokenizer has no piece for; None where there is none."""
    piece = getattr(tokenizer.backend_tokenizer.model, "unk_token", None)
    return None if piece is None else tokenizer.get_vocab().get(piece)


def check_tokenizer(path: Path) -> None:
    """Raise PolicyError for a tokenizer.json that is none, or whose rules may make a text longer
    than the budget ``tokenizer_growth`` allows; OSError where it cannot be opened."""
    told = files.read_json(path, PolicyError, "tokenizer_bytes")
    if not isinstance(told, dict):
        raise PolicyError(f"{path} holds no tokenizer: a JSON object is expected; {_REMEDY}")
    growth = 1.0
    for part in ("normalizer", "pre_tokenizer", "post_processor"):
        for rule in _rules(path, told.get(part)):
            growth *= _growth(path, rule)
            within("tokenizer_growth", round(growth), path, PolicyError)
    padding = told.get("padding")
    if padding is not None and _field(padding, "strategy") != "BatchLongest":
        raise PolicyError(f"{path}: padding={shown(padding)} makes every text longer; {_REMEDY}")


def _rules(path: Path, rule: Any) -> list[Any]:
    """A rule and those in it, in order; nested no deeper than the budget of JSON allows."""
    if rule is None:
        return []
    if _field(rule, "type") != "Sequence":
        return [rule]
    inner = next((_field(rule, name) for name in ("normalizers", "pretokenizers", "processors")
                  if _field(rule, name) is not None), None)
    if not isinstance(inner, list):
        _refuse(path, rule)
    return [each for one in inner for each in _rules(path, one)]


def _growth(path: Path, rule: Any) -> float:
    """How many times as long a text may become by one rule."""
    kind, pattern = _field(rule, "type"), _field(rule, "pattern")
    if pattern is not None and not isinstance(_field(pattern, "String"), str):
        raise PolicyError(
            f"{path}: the rule {shown(rule)} searches by a regular expression, whose time nobody "
            f"can tell; {_REMEDY}"
        )
    if kind == "Replace" and isinstance(_field(rule, "content"), str):
        searched, content = len(_field(pattern, "String")), len(_field(rule, "content"))
        return max(1.0, content / searched) if searched else 1.0 + content
    if kind == "Prepend" and isinstance(_field(rule, "prepend"), str):
        return 1.0 + max(0, len(_field(rule, "prepend")) - 1)
    if kind == "TemplateProcessing":
        signs = _field(rule, "special_tokens") or {}
        count = sum(len(_field(sign, "ids") or ()) for sign in signs.values())
        if count + len(_field(rule, "single") or ()) > _MOST_SIGNS:
            _refuse(path, rule)
    if kind not in _STEADY:
        _refuse(path, rule)
    return 1.0


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _refuse(path: Path, rule: Any) -> NoReturn:
    raise PolicyError(f"{path}: the rule {shown(rule)} is not known here; {_REMEDY}")
