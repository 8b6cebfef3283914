# SPDX-License-Identifier: Apache-2.0
"""Pictures as LeRobot's vision-language-action policies take them, and which camera is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from vla_infoentropy_ros.models.adapter import PolicyError, VisionInput
from vla_infoentropy_ros.models.lerobot.features import short_name
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.preprocessing import check_picture


@dataclass(frozen=True)
class Fitting:
    """How a picture that is no square becomes one.

    before: share of the bars that stand to the left of it and above, the rest stands behind.
    bars: their brightness, 0 to 1. cubic: bytes are resampled by cubic splines that smooth first,
    else numbers by linear ones that do not.
    """

    before: float
    bars: float = 0.0
    cubic: bool = False

    def fit(self, image: NDArray[np.uint8], size: int) -> torch.Tensor:
        """(h, w, 3) to (3, size, size) in [0, 1], scaled without distortion."""
        values = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1)[None]
        longest = max(values.shape[2:])
        height, width = (  # 224/1280 * 720 is below 126, 720 / (1280/224) is not
            max(1, int(edge * (size / longest) if self.cubic else edge / (longest / size)))
            for edge in values.shape[2:]
        )
        if self.cubic:
            values = F.interpolate(values, size=(height, width), mode="bicubic",
                                   align_corners=False, antialias=True).float() / 255
        else:
            values = F.interpolate(values.float() / 255, size=(height, width), mode="bilinear",
                                   align_corners=False)
        below, beside = size - height, size - width
        top, left = int(below * self.before), int(beside * self.before)
        bars = (left, beside - left, top, below - top)
        return F.pad(values, bars, value=self.bars)[0].clamp_(0.0, 1.0)


LEFT_TOP, AROUND = Fitting(1.0), Fitting(0.5)
GREY_BEHIND = Fitting(0.0, bars=0.5, cubic=True)


@dataclass(frozen=True)
class Cameras:
    """names: of the pictures in the order of training. size: edge of the tower's image, px.
    half_turn: pictures are turned by 180 degrees first."""

    names: tuple[str, ...]
    size: int
    fitting: Fitting
    half_turn: bool = False

    @classmethod
    def of(
        cls, names: tuple[str, ...], size: int, options: LoadOptions, fitting: Fitting
    ) -> Cameras:
        """Raises PolicyError where the options name other cameras, or in another order."""
        short = tuple(map(short_name, names))
        told = named(options)
        if told and told != short:
            same = sorted(told) == sorted(short)
            raise PolicyError(
                f"cameras={','.join(told)}: the checkpoint was trained with {','.join(short)}"
                + (" in this order; remap image, wrist_image and third_image so" if same else
                   "; give it these, in this order")
            )
        if options.crop not in ("", "none"):
            raise PolicyError(
                f"crop={options.crop!r}: this policy was trained on whole pictures; leave it empty"
            )
        return cls(names, size, fitting, options.image_rotation == "half_turn")

    def preprocess(self, images: Sequence[NDArray[np.uint8]]) -> VisionInput:
        """One picture (h, w, 3) uint8 RGB of any size per camera, to pixels in [-1, 1]."""
        if len(images) != len(self.names):
            raise PolicyError(
                f"{len(images)} pictures given; this policy takes {len(self.names)}: "
                f"{', '.join(self.names)}, in this order"
            )
        pixels = torch.stack([self._fitted(image) for image in images])
        seen = pixels.mul(255.0).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return VisionInput(seen, pixels.mul(2.0).sub_(1.0))

    def _fitted(self, image: NDArray[np.uint8]) -> torch.Tensor:
        check_picture(image)
        return self.fitting.fit(image[::-1, ::-1] if self.half_turn else image, self.size)


def named(options: LoadOptions) -> tuple[str, ...]:
    """The cameras that the options name, in order."""
    return tuple(name.strip() for name in options.cameras.split(",") if name.strip())
