# SPDX-License-Identifier: Apache-2.0
"""Camera picture to the image a vision tower sees, and to its normalised pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.load_options import CROPS, IMAGE_ROTATIONS

# How a picture that is not square becomes square. resize-naive: by stretching; letterbox: by
# bars in the mean colour; resize-crop: by cutting the longer sides.
RESIZES = ("resize-naive", "letterbox", "resize-crop")

# ImageNet statistics as openvla-7b's preprocessor_config.json has them: rounded to bfloat16.
DINO_MEAN, DINO_STD = (0.484375, 0.455078125, 0.40625), (0.228515625, 0.2236328125, 0.224609375)
SIGLIP_MEAN, SIGLIP_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Preprocessing:
    """From pictures of any size to one tower image and its pixels.

    image_size: edge of the tower's image, px. rotation, crop, resize: one of the names above.
    means, stds: one triple for each set of three channels, RGB in [0, 1]. fill: RGB of the bars
    that letterbox adds.
    """

    image_size: int
    rotation: str = "none"
    crop: str = "none"
    resize: str = "resize-naive"
    means: tuple[tuple[float, ...], ...] = (DINO_MEAN, SIGLIP_MEAN)
    stds: tuple[tuple[float, ...], ...] = (DINO_STD, SIGLIP_STD)
    fill: tuple[int, int, int] = (127, 127, 127)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("image_rotation", self.rotation, IMAGE_ROTATIONS),
            ("crop", self.crop, CROPS),
            ("image_resize_strategy", self.resize, RESIZES),
        ):
            if value not in known:
                raise PolicyError(f"{name}={value!r}: must be one of {', '.join(known)}")
        if self.image_size < 1 or len(self.means) != len(self.stds):
            raise PolicyError(
                f"image_size={self.image_size} with {len(self.means)} means and "
                f"{len(self.stds)} stds: size must be positive, the counts equal"
            )
        if any(len(triple) != 3 for triple in (*self.means, *self.stds)):
            raise PolicyError("means and stds need three values each, for R, G and B")
        if any(not value > 0 for triple in self.stds for value in triple):
            raise PolicyError(f"stds={self.stds}: must be positive")

    def image(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        """(h, w, 3) uint8 RGB of any size to the tower's image (H, W, 3) uint8, on the CPU."""
        check_picture(picture)
        if self.rotation == "half_turn":
            picture = picture[::-1, ::-1]
        tensor = torch.from_numpy(np.array(picture, copy=True)).permute(2, 0, 1)
        tensor = self._to_square(tensor)
        if self.crop == "centre_0.9_area":
            tensor = centre_crop(tensor, area=0.9)
        return tensor.permute(1, 2, 0).contiguous()

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Tower images (V, H, W, 3) uint8 to (V, 3 x sets, H, W) float32, one normalisation for
        each set, on the device of ``images``."""
        scaled = images.permute(0, 3, 1, 2).to(torch.float32).div(255)
        sets = [
            (scaled - _channels(tuple(mean), images.device)) / _channels(tuple(std), images.device)
            for mean, std in zip(self.means, self.stds, strict=True)
        ]
        # In this layout the convolution adds up as in the published code, bit for bit.
        return torch.cat(sets, dim=1).contiguous()

    def _to_square(self, picture: torch.Tensor) -> torch.Tensor:
        height, width = picture.shape[1:]
        size = self.image_size
        if self.resize == "letterbox":
            longest = max(height, width)
            bars = (int((longest - width) / 2), int((longest - height) / 2))
            canvas = torch.tensor(self.fill, dtype=torch.uint8)[:, None, None].repeat(
                1, height + 2 * bars[1], width + 2 * bars[0]
            )
            canvas[:, bars[1] : bars[1] + height, bars[0] : bars[0] + width] = picture
            return resize_bicubic(canvas, size, size)
        if self.resize == "resize-crop":
            shortest = min(height, width)
            scaled = resize_bicubic(
                picture, int(size * height / shortest), int(size * width / shortest)
            )
            top, left = (round((edge - size) / 2) for edge in scaled.shape[1:])
            return scaled[:, top : top + size, left : left + size]
        return resize_bicubic(picture, size, size)


def check_picture(picture: Any) -> None:
    """Raise PolicyError for anything but (h, w, 3) uint8; says what is wrong with floats."""
    if not isinstance(picture, np.ndarray):
        raise PolicyError(f"picture is a {type(picture).__name__}: must be a numpy array")
    found = f"picture of shape {picture.shape} and type {picture.dtype}"
    if np.issubdtype(picture.dtype, np.floating):
        bad = int(np.count_nonzero(~np.isfinite(picture)))
        detail = f" with {bad} NaN or infinite pixels" if bad else ""
        raise PolicyError(
            f"{found}{detail}: must be uint8 RGB; scale finite values to 0..255 and convert"
        )
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise PolicyError(f"{found}: must be (h, w, 3) uint8 RGB; convert grey, RGBA or depth")
    if picture.size == 0:
        raise PolicyError(f"{found} is empty")


def resize_bicubic(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(3, h, w) uint8 to (3, height, width) uint8 as PIL's BICUBIC does (antialiased, a = -0.5).

    torch's uint8 kernel rounds its fixed-point weights differently: within one level of PIL, two
    in a rare pixel (under 1e-4) of an edge that is hardly scaled or enlarged. It is several
    times as fast.
    """
    if tuple(picture.shape[1:]) == (height, width):
        return picture
    # Channels last is the layout that the vectorised kernel reads.
    batch = picture[None].contiguous(memory_format=torch.channels_last)
    return F.interpolate(
        batch, size=(height, width), mode="bicubic", align_corners=False, antialias=True
    )[0]


def centre_crop(picture: torch.Tensor, area: float) -> torch.Tensor:
    """The middle ``area`` (a share, 0 to 1) of (3, H, W) uint8, scaled back to (3, H, W).

    As TensorFlow's crop_and_resize, with which OpenVLA's training crops were made: bilinear
    between corner pixel centres, no antialiasing, and its float-to-uint8 rule floor(255.5 x).
    """
    side = math.sqrt(min(max(area, 0.0), 1.0))
    value = picture.to(torch.float32) / 255
    value = _lerp(value, side, dim=1)
    value = _lerp(value, side, dim=2)
    return (value.clamp(0, 1) * 255.5).floor().clamp(max=255).to(torch.uint8)


def _lerp(value: torch.Tensor, side: float, dim: int) -> torch.Tensor:
    count = value.shape[dim]
    first = (1 - side) / 2 * (count - 1)
    step = side * (count - 1) / max(count - 1, 1)
    where = first + torch.arange(count, dtype=torch.float32) * step
    low = where.floor().long().clamp(0, count - 1)
    high = (low + 1).clamp(max=count - 1)
    shape = [1, 1, 1]
    shape[dim] = count
    weight = (where - low).view(shape)
    return torch.lerp(value.index_select(dim, low), value.index_select(dim, high), weight)


@lru_cache(maxsize=64)
def _channels(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """(C, 1, 1) float32; kept, since sending it anew would make every frame wait for the device."""
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
