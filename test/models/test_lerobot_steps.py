# SPDX-License-Identifier: Apache-2.0
"""Each step that LeRobot saved before and after a policy is carried out, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from test.models.test_smolvla_bad_input import STATISTICS, UNNORMALISE, change, refused
from test.models.tiny_pi0 import tiny_variants, write_lerobot_pi0
from test.models.tiny_smolvla import METRES, write_tiny_smolvla
from vla_infoentropy_ros.models.loading import load_policy

BEFORE, AFTER = "policy_preprocessor.json", "policy_postprocessor.json"
RENAME, BATCH, LINE, TOKENS, DEVICE, NORMAL = range(6)
Steps = list[dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_smolvla(tmp_path / "tiny")


def edit(path: Path, altered: Callable[[Steps], Steps]) -> None:
    change(path, steps=altered(json.loads(path.read_text())["steps"]))


def loads(folder: Path) -> None:
    assert load_policy(str(folder), METRES, progress=False).views == 2


@pytest.mark.parametrize(("step", "setting", "words"), [
    (TOKENS, {"max_length": 4}, ("max_length=4", "24", "tokenizer_max_length")),
    (TOKENS, {"max_length": None}, ("max_length", "24")),
    (TOKENS, {"truncation": False}, ("truncation=False", "true")),
    (TOKENS, {"tokenizer_name": "other/vlm"}, ("tokenizer_name='other/vlm'", "'tiny/vlm'")),
    (TOKENS, {"task_key": "subtask"}, ("task_key='subtask'", "'task'")),
    (TOKENS, {"padding_side": "left"}, ("padding_side='left'", "'right'")),
    (TOKENS, {"lower": True}, ("lower=True", "no such setting")),
    (LINE, {"sign": "?"}, ("sign='?'", "smolvla_new_line_processor")),
    (RENAME, {"map": {"a": "b"}}, ("steps[0].config.map", "no such setting")),
    (NORMAL, {"features": {}}, ("features.observation.state is missing", "an object")),
    (NORMAL, {"features": None}, ("features is missing",)),
    (NORMAL, {"features": {"observation.state": {"type": "VISUAL", "shape": [8]}}},
     ("features.observation.state.type='VISUAL'", "'STATE'")),
    (NORMAL, {"features": {"observation.state": {"type": "STATE", "shape": [8]},
                           "observation.images.top": {"type": "STATE", "shape": [3, 48, 64]}}},
     ("features.observation.images.top.type='STATE'", "'VISUAL'")),
    (NORMAL, {"stats": {"observation.state": {"mean": [9.0] * 8}}}, ("stats", "state_file")),
    (NORMAL, {"clip": 5.0}, ("clip=5.0", "normalizer_processor has no such setting")),
])
def test_settings_that_a_step_does_not_have_here(
    folder: Path, step: int, setting: dict[str, Any], words: tuple[str, ...]
) -> None:
    def altered(steps: Steps) -> Steps:
        steps[step]["config"] |= setting
        return steps

    edit(folder / BEFORE, altered)
    refused(folder, BEFORE, *words)


@pytest.mark.parametrize(("altered", "words"), [
    (lambda s: [*s[:LINE], *s[TOKENS:]], ("has 0 steps smolvla_new_line_processor",)),
    (lambda s: [*s[:TOKENS], *s[DEVICE:]], ("has 0 steps tokenizer_processor",)),
    (lambda s: [*s, s[NORMAL]], ("has 2 steps normalizer_processor",)),
    (lambda s: [s[LINE], *s], ("has 2 steps smolvla_new_line_processor",)),
    (lambda s: [*s, s[NORMAL] | {"registry_name": "unnormalizer_processor"}],
     ("'unnormalizer_processor' is not known here",)),
    (lambda s: [s[NORMAL], *s[:NORMAL]], ("rename_observations_processor behind",)),
    (lambda s: [s[TOKENS], *s[:TOKENS], *s[DEVICE:]], ("smolvla_new_line_processor behind",)),
    (lambda s: [*s[:LINE], s[LINE] | {"registry_name": "pi0_new_line_processor"}, *s[TOKENS:]],
     ("'pi0_new_line_processor' is not known here",)),
])
def test_steps_missing_twice_or_out_of_order(
    folder: Path, altered: Callable[[Steps], Steps], words: tuple[str, ...]
) -> None:
    edit(folder / BEFORE, altered)
    refused(folder, BEFORE, *words)


@pytest.mark.parametrize(("altered", "words"), [
    (lambda s: [*s, s[0]], "has 2 steps unnormalizer_processor"),
    (lambda s: [*s, s[0] | {"registry_name": "normalizer_processor"}],
     "'normalizer_processor' is not known here"),
    (lambda s: [*s, {"registry_name": "tokenizer_processor", "config": {}}],
     "'tokenizer_processor' is not known here"),
    (lambda s: s[1:], "has 0 steps unnormalizer_processor"),
])
def test_behind_the_policy_actions_are_scaled_once_and_nothing_else(
    folder: Path, altered: Callable[[Steps], Steps], words: str
) -> None:
    edit(folder / AFTER, altered)
    refused(folder, AFTER, words)


@pytest.mark.parametrize(("name", "altered"), [
    (BEFORE, lambda s: [s[RENAME], s[NORMAL], s[BATCH], s[LINE], s[TOKENS], s[DEVICE]]),
    (BEFORE, lambda s: s[BATCH:]),  # no name is another
    (BEFORE, lambda s: [*s[:NORMAL], s[NORMAL] | {"config": s[NORMAL]["config"] | {
        "device": "cuda", "dtype": None, "stats": None}}]),
    (BEFORE, lambda s: [*s[:TOKENS], s[TOKENS] | {"config": {"max_length": 24}}, *s[DEVICE:]]),
    (AFTER, lambda s: [s[1], s[0], s[1]]),
])
def test_what_changes_nothing(
    folder: Path, name: str, altered: Callable[[Steps], Steps]
) -> None:
    edit(folder / name, altered)
    loads(folder)


def test_a_statistic_that_nobody_reads_may_be_no_number(folder: Path) -> None:
    """The same in both files: of one training."""
    nan = {"task_index.std": torch.tensor([float("nan")])}
    for name in (STATISTICS, UNNORMALISE):
        save_file(load_file(folder / name) | nan, folder / name)
    loads(folder)
    save_file(load_file(folder / UNNORMALISE) | {"task_index.std": torch.zeros(1)},
              folder / UNNORMALISE)
    refused(folder, "different task_index.std", "two trainings")


@pytest.fixture
def pi0(tmp_path: Path) -> Iterator[Path]:
    with tiny_variants():
        yield write_lerobot_pi0(tmp_path / "pi0")


def test_of_pi0_too(pi0: Path) -> None:
    loads(pi0)
    steps = json.loads((pi0 / BEFORE).read_text())["steps"]
    change(pi0 / BEFORE, steps=[*steps[:LINE], *steps[TOKENS:]])
    refused(pi0, BEFORE, "has 0 steps pi0_new_line_processor")
    steps[TOKENS]["config"]["tokenizer_name"] = "google/gemma-2b"
    change(pi0 / BEFORE, steps=steps)
    refused(pi0, "tokenizer_name='google/gemma-2b'", "'google/paligemma-3b-pt-224'")
