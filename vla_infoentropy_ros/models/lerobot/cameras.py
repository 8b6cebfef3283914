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
class Cameras:
    """names: of the pictures in the order of training. size: edge of the tower's image, px.
    half_turn: pictures are turned by 180 degrees first. pad: bars go to the "left_top" or all
    "around" a picture that is no square."""

    names: tuple[str, ...]
    size: int
    half_turn: bool = False
    pad: str = "left_top"

    @classmethod
    def of(
        cls, names: tuple[str, ...], size: int, options: LoadOptions, pad: str = "left_top"
    ) -> Cameras:
        """Raises PolicyError where the options name other cameras, or in another order."""
        short = tuple(map(short_name, names))
        told = tuple(name.strip() for name in options.cameras.split(",") if name.strip())
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
        return cls(names, size, options.image_rotation == "half_turn", pad)

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
        """(3, size, size) in [0, 1]: scaled to fit without distortion, black bars for the rest."""
        check_picture(image)
        if self.half_turn:
            image = image[::-1, ::-1]
        values = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1)[None].float() / 255
        height, width = values.shape[2:]
        ratio = max(width, height) / self.size
        fitted = max(1, int(height / ratio)), max(1, int(width / ratio))
        values = F.interpolate(values, size=fitted, mode="bilinear", align_corners=False)
        below, beside = self.size - fitted[0], self.size - fitted[1]
        top, left = (below, beside) if self.pad == "left_top" else (below // 2, beside // 2)
        return F.pad(values, (left, beside - left, top, below - top))[0].clamp_(0.0, 1.0)
