# SPDX-License-Identifier: Apache-2.0
"""Whatever a name leads to and whatever lies beside a checkpoint: it loads, or one sentence says
why not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.models.motion_sense import (
    MOST_METRES,
    MOST_RADIANS,
    Reach,
    SenselessError,
    check_increments,
    check_size,
)
from vla_infoentropy_ros.models.source import locate
from vla_infoentropy_ros.models.weight_files import read_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_openvla(tmp_path_factory.mktemp("names") / "openvla", image_size=56)


def _sentence(error: PolicyError) -> None:
    assert str(error).isprintable() and 10 < len(str(error)) < 1500


NAMES = st.one_of(
    st.text(max_size=30), st.text("~/.\\ \x00\ud800ab-", max_size=12),
    st.integers(1, 6000).map("x".__mul__), st.integers(200, 300).map(lambda n: f"/{'y' * n}/z"),
    st.sampled_from(["~", "~root", "/", "/proc", "/dev/null", "/proc/self/mem", "..", "a/b"]),
)


@settings(max_examples=200, deadline=None)
@example(name="\x00/0", revision="")
@example(name="\ud800/0", revision="")
@given(name=NAMES, revision=st.sampled_from(["", "main", "0" * 39]))
def test_any_name_of_a_model(name: str, revision: str) -> None:
    if name == "embedded":
        return
    with pytest.raises(PolicyError) as caught:
        load_policy(name, LoadOptions(revision=revision), progress=False)
    _sentence(caught.value)


HARMLESS = (
    "README.md", ".gitattributes", "tokenizer.model", "special_tokens_map.json",
    "generation_config.json", "added_tokens.json", "trainer_state.json", "optimizer.pt",
    "training_args.bin", "rng_state_3.pth", "modeling_prismatic.py", "runs/events.out",
    "checkpoint-500/model.safetensors", "vision_notes.txt",
)
ANOTHER = (
    "adapter_config.json", "lora_adapter/x", "action_head--1_checkpoint.pt", "action_head.pt",
    "proprio_projector--latest_checkpoint.pt", "noisy_action_projector.pt", "pytorch_model.bin",
    "vision_backbone--1_checkpoint.pt", "action_decoder.pt", "model.safetensors.index.json",
    "model-00001-of-00002.safetensors", "value_head.safetensors", "ema.ckpt", "model.onnx",
)
KINDS = st.sampled_from(["file", "file", "file", "folder", "fifo", "dangling"])


@settings(max_examples=150, deadline=None)
@given(added=st.dictionaries(st.sampled_from(HARMLESS + ANOTHER), KINDS, max_size=4))
def test_anything_beside_a_checkpoint(folder: Path, added: dict[str, str]) -> None:
    """Taken exactly where every addition is a plain file that changes nothing."""
    # A folder holds no weights, whatever it is called.
    added = {name: "file" if kind == "folder" and name in ANOTHER else kind
             for name, kind in added.items()}
    for name, kind in added.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "dangling":
            path.symlink_to("nowhere")
        else:
            path.write_text("{}" if name.endswith(".json") else "")
    expected = all(
        name in HARMLESS and (kind == "file" or "/" in name or _a_folder_may_be(name, kind))
        for name, kind in added.items()
    )
    try:
        source = locate(str(folder), "")
        found = bool(read_table(source.folder, source.weights))
    except PolicyError as error:
        _sentence(error)
        found = False
    finally:
        for name in added:
            top = folder / name.split("/")[0]
            shutil.rmtree(top) if top.is_dir() else top.unlink(missing_ok=True)
    assert found == expected


def _a_folder_may_be(name: str, kind: str) -> bool:
    return kind == "folder" and not name.endswith((".json", ".safetensors", ".py"))


QUANTILES = st.tuples(*[st.floats(-1.0, 1.0) for _ in range(7)])


@settings(max_examples=300, deadline=None)
@given(one=QUANTILES, other=QUANTILES, period_s=st.floats(0.005, 10.0))
def test_statistics_that_pass_let_the_arm_stand_still_and_go_both_ways(
    one: tuple[float, ...], other: tuple[float, ...], period_s: float
) -> None:
    low, high = np.minimum(one, other), np.maximum(one, other)
    reach = Reach(low, high)
    try:
        check_size(reach, period_s)
        check_increments(reach)
    except SenselessError as error:
        assert "looks like" in str(error) or "no action moves" in str(error)
        return
    slack = 0.01 * (high - low)
    assert (low[:6] <= slack[:6]).all() and (high[:6] >= -slack[:6]).all()
    assert (high[:3] > low[:3]).all()
    assert reach.most[:3].max() <= MOST_METRES and reach.most[3:6].max() <= MOST_RADIANS


@settings(max_examples=100, deadline=None)
@given(axis=st.integers(0, 5), offset=st.floats(0.021, 0.4), sign=st.sampled_from([-1.0, 1.0]))
def test_an_offset_that_takes_zero_out_of_a_range_is_seen(
    axis: int, offset: float, sign: float
) -> None:
    low, high = np.full(7, -0.02), np.full(7, 0.02)
    check_increments(Reach(low, high))
    low[axis] += sign * offset
    high[axis] += sign * offset
    with pytest.raises(SenselessError, match="absolute poses"):
        check_increments(Reach(low, high))
