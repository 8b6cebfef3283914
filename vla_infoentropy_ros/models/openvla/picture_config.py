# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint says of its pictures: every field that acts is read, or refused by name.

The published processor keeps its settings twice: as its arguments (``image_resize_strategy``,
``means``, ...) and as what it made of them (``tvf_...``), which is what it applies. Where both
are there they must say the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.families import CONFIG
from vla_infoentropy_ros.models.json_fields import REMEDY, Fields, read_optional_json
from vla_infoentropy_ros.models.openvla.config import OpenVLAConfig
from vla_infoentropy_ros.models.preprocessing import (
    DINO_MEAN,
    DINO_STD,
    RESIZES,
    SIGLIP_MEAN,
    SIGLIP_STD,
    Preprocessing,
)

PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"  # where transformers 5 writes it, one level deeper
NESTED = "image_processor"
KIND = "PrismaticImageProcessor"
BICUBIC = ("bicubic", 3)  # timm's and PIL's name for it

# All that acts; what else stands there names classes and code.
ACTING = (
    "image_processor_type", "image_resize_strategy", "use_fused_vision_backbone", "input_sizes",
    "interpolations", "means", "stds", "tvf_do_letterbox", "tvf_letterbox_fill",
    "tvf_resize_params", "tvf_crop_params", "tvf_normalize_params",
)
LEAST_STD = 1e-3  # 1/255 leaves pixels as they are; below, differences of one level explode
ROUNDING = 5e-3  # of means and stds, which the published tvf_normalize_params have in bfloat16

logger = logging.getLogger(__name__)


def read_preprocessing(
    folder: Path, config: OpenVLAConfig, *, rotation: str, crop: str
) -> Preprocessing:
    """From the processor's file of a checkpoint folder, wherever transformers has put it, and
    ``config.json``. Raises PolicyError for what is not supported or contradicts itself."""
    fields = _processor(folder)
    if not any(fields.has(name) for name in ACTING):
        logger.warning(
            "%s has no settings of pictures (%s); those of openvla-7b are assumed", folder,
            PREPROCESSOR,
        )
    return preprocessing_of(
        fields, config.image_size, resize=config.resize, rotation=rotation, crop=crop
    )


def preprocessing_of(
    fields: Fields, image_size: int, *, resize: str, rotation: str, crop: str
) -> Preprocessing:
    """From the processor's fields. resize: what config.json says, or ""."""
    fields.choice("image_processor_type", (KIND, f"{KIND}Fast"), KIND)
    if not fields.flag("use_fused_vision_backbone", True):
        fields.refuse("use_fused_vision_backbone", "true")
    strategy = _strategy(fields, resize)
    _check_sizes(fields, image_size, strategy)
    means = _normalisation(fields, "mean", (DINO_MEAN, SIGLIP_MEAN))
    stds = _normalisation(fields, "std", (DINO_STD, SIGLIP_STD))
    fill = _fill(fields, strategy, means)
    return Preprocessing(
        image_size, rotation=rotation, crop=crop, resize=strategy, means=means, stds=stds, fill=fill
    )


def _processor(folder: Path) -> Fields:
    """The one description of the pictures; of two, both, if they say the same."""
    own = Fields(PREPROCESSOR, read_optional_json(folder / PREPROCESSOR))
    if own.has(NESTED):
        own = own.object(NESTED)
    whole = Fields(PROCESSOR, read_optional_json(folder / PROCESSOR))
    if not whole.has(NESTED):
        return own
    nested = whole.object(NESTED)
    for name in ACTING:
        if own.has(name) and nested.has(name) and own.values[name] != nested.values[name]:
            raise PolicyError(
                f"{PREPROCESSOR} says {own.where}{name}={shown(own.values[name])}, {PROCESSOR} "
                f"{nested.where}{name}={shown(nested.values[name])}; keep the file that training "
                "wrote"
            )
    return Fields(nested.file, {**own.values, **nested.values}, nested.where)


def _strategy(fields: Fields, from_config: str) -> str:
    """How pictures become square."""
    strategy = fields.choice("image_resize_strategy", RESIZES, from_config or "letterbox")
    if from_config and strategy != from_config:
        raise PolicyError(
            f"{fields.file}: {fields.where}image_resize_strategy={strategy!r}, but {CONFIG} says "
            f"{from_config!r}; {REMEDY}"
        )
    if fields.has("tvf_do_letterbox"):
        letterbox = fields.flag("tvf_do_letterbox")
        if letterbox != (strategy == "letterbox"):
            fields.refuse("tvf_do_letterbox", f"as image_resize_strategy={strategy!r} has it")
    return strategy


def _check_sizes(fields: Fields, size: int, strategy: str) -> None:
    """Everything that is scaled is scaled to the towers' one image, by the one filter."""
    square = [size, size]
    for channels in _pair(fields, "input_sizes", [3, *square]):
        if channels != [3, *square]:
            fields.refuse("input_sizes", f"[3, {size}, {size}] twice, as {CONFIG} has image_sizes")
    for name in _pair(fields, "interpolations", "bicubic"):
        if name not in BICUBIC:
            fields.refuse("interpolations", "'bicubic' twice")
    # By the shorter side alone, the picture keeps its shape, and a crop makes it square.
    wanted = {"resize-naive": (square,), "resize-crop": (size, [size])}.get(
        strategy, (size, [size], square)
    )
    for each in fields.objects("tvf_resize_params", 2, [{}, {}]):
        if each.has("size") and each.values["size"] not in wanted:
            each.refuse("size", f"{wanted[0]} for {strategy}")
        if each.values.get("interpolation", "bicubic") not in BICUBIC:
            each.refuse("interpolation", "3, which is bicubic")
        if each.has("max_size"):
            each.refuse("max_size", "null")
        if not each.flag("antialias", True):
            each.refuse("antialias", "true")
    for each in fields.objects("tvf_crop_params", 2, [{}, {}]):
        if each.values.get("output_size", square) not in (size, [size], square):
            each.refuse("output_size", f"{square}")


def _pair(fields: Fields, name: str, default: Any) -> list[Any]:
    """The list of two at ``name``, for DINOv2 and SigLIP."""
    return fields.items(name, 2, "entries, for DINOv2 and SigLIP", [default, default])


def _normalisation(
    fields: Fields, name: str, default: Sequence[Sequence[float]]
) -> tuple[tuple[float, ...], ...]:
    """Means or deviations of both towers: as applied, else as asked for, else the published."""
    plural = f"{name}s"
    given = _pair(fields, plural, None) if fields.has(plural) else list(map(list, default))
    rows = Fields(fields.file, {f"{plural}[{i}]": row for i, row in enumerate(given)}, fields.where)
    asked = tuple(_triple(rows, row) for row in rows.values)
    if not fields.has("tvf_normalize_params"):
        return asked
    sets = fields.objects("tvf_normalize_params", 2)
    applied = tuple(_triple(entry, name) for entry in sets)
    apart = max(abs(a - b) for left, right in zip(asked, applied, strict=True)
                for a, b in zip(left, right, strict=True))
    if fields.has(plural) and apart > ROUNDING:
        fields.refuse(plural, f"as tvf_normalize_params has them, {shown(applied)}")
    return applied


def _triple(fields: Fields, name: str) -> tuple[float, ...]:
    """Mean or deviation of R, G and B in [0, 1]."""
    return tuple(fields.numbers(name, 3, low=LEAST_STD if "std" in name else 0.0, high=1.0))


def _fill(
    fields: Fields, strategy: str, means: tuple[tuple[float, ...], ...]
) -> tuple[int, int, int]:
    """RGB of the bars; without a colour of their own that of SigLIP's mean, which the published
    processor computes last and so uses for both towers."""
    if fields.has("tvf_letterbox_fill") and strategy != "letterbox":
        fields.refuse("tvf_letterbox_fill", f"null, since {strategy} adds no bars")
    own = [float(int(255 * value)) for value in means[-1]]
    red, green, blue = fields.numbers("tvf_letterbox_fill", 3, own, low=0, high=255)
    return int(red), int(green), int(blue)
