# SPDX-License-Identifier: Apache-2.0
"""Every field of a processor's file that acts on pictures is obeyed, or refused by its name."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.json_fields import Fields
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.openvla import OpenVLAPolicy, load_openvla
from vla_infoentropy_ros.models.openvla.picture_config import (
    ACTING,
    PREPROCESSOR,
    PROCESSOR,
    preprocessing_of,
)
from vla_infoentropy_ros.models.preprocessing import DINO_MEAN, DINO_STD, Preprocessing

SIZE = 56
HOW = {"resize": "resize-naive", "rotation": "none", "crop": "none"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_openvla(tmp_path / "openvla", image_size=SIZE)


def _load(folder: Path) -> OpenVLAPolicy:
    return load_openvla(folder, LoadOptions(unnorm_key="bridge_orig"), progress=False)


def _published(folder: Path) -> dict[str, Any]:
    return json.loads((folder / PREPROCESSOR).read_text())


def _change(folder: Path, **changes: Any) -> Path:
    (folder / PREPROCESSOR).write_text(json.dumps(_published(folder) | changes))
    return folder


def _change_config(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def _refused(folder: Path, *words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        _load(folder)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def _resize(**changes: Any) -> list[dict[str, Any]]:
    params = {"antialias": True, "interpolation": 3, "max_size": None, "size": [SIZE, SIZE]}
    return [params, params | changes]


@pytest.mark.parametrize(("changes", "words"), [
    ({"image_resize_strategy": "letterbox"},
     ("image_resize_strategy='letterbox'", "config.json says 'resize-naive'")),
    ({"image_resize_strategy": "stretch"}, ("image_resize_strategy='stretch'",)),
    ({"tvf_do_letterbox": True}, ("tvf_do_letterbox=True", "'resize-naive'")),
    ({"tvf_letterbox_fill": [1, 2, 3]}, ("tvf_letterbox_fill=[1, 2, 3]", "no bars")),
    ({"interpolations": ["bicubic", "bilinear"]}, ("interpolations=", "bicubic")),
    ({"interpolations": "bicubic"}, ("interpolations='bicubic'",)),
    ({"input_sizes": [[3, 56, 56], [3, 384, 384]]}, ("input_sizes=", "[3, 56, 56] twice")),
    ({"input_sizes": [[1, 56, 56]] * 2}, ("input_sizes=",)),
    ({"tvf_resize_params": _resize(size=56)}, ("tvf_resize_params[1].size=56", "[56, 56]")),
    ({"tvf_resize_params": _resize(size=[224, 224])}, ("tvf_resize_params[1].size",)),
    ({"tvf_resize_params": _resize(interpolation=2)}, ("tvf_resize_params[1].interpolation=2",)),
    ({"tvf_resize_params": _resize(antialias=False)}, ("tvf_resize_params[1].antialias=False",)),
    ({"tvf_resize_params": _resize(max_size=99)}, ("tvf_resize_params[1].max_size=99",)),
    ({"tvf_crop_params": [{"output_size": [48, 48]}] * 2}, ("tvf_crop_params[0].output_size",)),
    ({"means": [[0.5] * 3] * 2}, ("means=", "as tvf_normalize_params has them")),
    ({"stds": [[0.5] * 3] * 2}, ("stds=", "as tvf_normalize_params has them")),
    ({"use_fused_vision_backbone": False}, ("use_fused_vision_backbone=False",)),
    ({"image_processor_type": "SiglipImageProcessor"}, ("'SiglipImageProcessor'",)),
])
def test_what_is_unsupported_or_contradicts_itself(
    folder: Path, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    _refused(_change(folder, **changes), PREPROCESSOR, *words)


def test_letterbox_in_both_files_is_obeyed(folder: Path) -> None:
    _change_config(folder, image_resize_strategy="letterbox")
    _change(folder, image_resize_strategy="letterbox", tvf_do_letterbox=True,
            tvf_letterbox_fill=[10, 20, 30], tvf_resize_params=_resize(size=SIZE))
    picture = np.full((20, 80, 3), 255, np.uint8)
    image = _load(folder).preprocess([picture]).image[0]
    assert image[0, 0].tolist() == [10, 20, 30] and image[SIZE // 2, 0].tolist() == [255] * 3


def test_the_processor_says_what_config_leaves_open(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["image_resize_strategy"]  # whose default is letterbox
    (folder / "config.json").write_text(json.dumps(config))
    assert _load(folder).preprocessing.resize == "resize-naive"


def test_bars_without_a_colour_have_siglips_mean() -> None:
    """The published processor computes the colour once a tower, and the last one stays."""
    fields = Fields("x", {"image_resize_strategy": "letterbox"})
    assert preprocessing_of(fields, 224, **HOW | {"resize": "letterbox"}).fill == (127, 127, 127)


def _nest(folder: Path, changes: dict[str, Any], *, keep: bool) -> Path:
    """As transformers 5 writes it."""
    nested = {"processor_class": "PrismaticProcessor", "image_processor": _published(folder)}
    nested["image_processor"].update(changes)
    (folder / PROCESSOR).write_text(json.dumps(nested))
    if not keep:
        (folder / PREPROCESSOR).unlink()
    return folder


def test_the_nested_file_of_transformers_5_is_read(folder: Path) -> None:
    halves = [{"mean": [0.5] * 3, "std": [0.25] * 3}] * 2
    changes = {"tvf_normalize_params": halves, "means": None, "stds": None}
    policy = _load(_nest(folder, changes, keep=False))
    assert policy.preprocessing.means == ((0.5,) * 3,) * 2
    assert policy.preprocessing.stds == ((0.25,) * 3,) * 2


def test_the_nested_file_is_refused_by_its_own_name(folder: Path) -> None:
    changes = {"interpolations": ["bicubic", "lanczos"]}
    _refused(_nest(folder, changes, keep=False), PROCESSOR, "image_processor.interpolations")


def test_two_files_must_say_the_same(folder: Path) -> None:
    reference = _load(folder).preprocessing
    assert _load(_nest(folder, {}, keep=True)).preprocessing == reference
    changes = {"tvf_do_letterbox": True}
    _refused(_nest(folder, changes, keep=True), f"{PREPROCESSOR} says tvf_do_letterbox=False",
             f"{PROCESSOR} image_processor.tvf_do_letterbox=True")


def test_no_file_is_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    reference = _load(folder).preprocessing
    assert "assumed" not in caplog.text
    (folder / PREPROCESSOR).unlink()
    with caplog.at_level(logging.WARNING):
        assert _load(folder).preprocessing == reference
    assert "no settings of pictures" in caplog.text


def test_every_acting_field_acts(folder: Path) -> None:
    """Each, changed alone to another sensible value, changes the pixels or is refused."""
    other: dict[str, Any] = {
        "image_processor_type": "ViTImageProcessor", "image_resize_strategy": "resize-crop",
        "use_fused_vision_backbone": False, "input_sizes": [[3, 28, 28]] * 2,
        "interpolations": ["nearest"] * 2, "means": [[0.1] * 3] * 2, "stds": [[0.1] * 3] * 2,
        "tvf_do_letterbox": True, "tvf_letterbox_fill": [1, 2, 3],
        "tvf_resize_params": [{"size": [28, 28]}] * 2, "tvf_crop_params": [{"output_size": 28}] * 2,
        "tvf_normalize_params": [{"mean": [0.1] * 3, "std": [0.1] * 3}] * 2,
    }
    assert set(other) == set(ACTING) <= set(_published(folder))
    published = _published(folder)
    for name, value in other.items():
        with pytest.raises(PolicyError, match=name):
            preprocessing_of(Fields(PREPROCESSOR, published | {name: value}), SIZE, **HOW)


def test_published_processor_values_win_over_its_means() -> None:
    raw = {
        "means": [[0.485, 0.456, 0.406], [0.5, 0.5, 0.5]],
        "stds": [[0.229, 0.224, 0.225], [0.5, 0.5, 0.5]],
        "tvf_normalize_params": [
            {"mean": list(DINO_MEAN), "std": list(DINO_STD)},
            {"mean": [0.5] * 3, "std": [0.5] * 3},
        ],
    }

    def means(raw: dict[str, Any]) -> tuple[float, ...]:
        return preprocessing_of(Fields(PREPROCESSOR, raw), 224, **HOW).means[0]

    assert means(raw) == means({}) == DINO_MEAN
    del raw["tvf_normalize_params"]
    assert means(raw) == (0.485, 0.456, 0.406)
    with pytest.raises(PolicyError, match="must be a list of 2"):
        means({"means": [[0.5] * 3], "stds": [[0.5] * 3]})


def test_pixels_follow_the_published_file(folder: Path) -> None:
    seen = _load(folder).preprocess([np.full((SIZE, SIZE, 3), 255, np.uint8)])
    wanted = Preprocessing(SIZE).pixels(torch.full((1, SIZE, SIZE, 3), 255, dtype=torch.uint8))
    assert torch.equal(seen.pixels, wanted)
