# SPDX-License-Identifier: Apache-2.0
"""Targets and losses by hand."""

from __future__ import annotations

import math

import pytest
import torch

from vla_infoentropy_ros.models.action_codec import ActionCodec
from vla_infoentropy_ros.training.losses import gaussian_heat, soft_bins


@pytest.mark.parametrize("value", [-1.0, -0.31, 0.0, 0.77, 1.0])
def test_soft_target_peaks_at_the_codecs_token(value: float) -> None:
    codec = ActionCodec(300)
    soft = soft_bins(codec, torch.tensor([value]), 2.0)
    assert soft.shape == (1, 300)
    assert float(soft.sum()) == pytest.approx(1.0, abs=1e-5)
    assert int(soft.argmax()) == int(codec.encode([value])[0])
    assert float(soft[0, : 300 - 255].sum()) == 0.0


def test_heat_map_sits_on_the_patch_and_skips_absent_objects() -> None:
    patches = torch.tensor([[[2.5, 1.5], [math.nan, math.nan]]])
    heat = gaussian_heat(patches, 4)
    assert heat.shape == (1, 2, 16)
    assert int(heat[0, 0].argmax()) == 1 * 4 + 2
    assert float(heat[0, 0].sum()) == pytest.approx(1.0)
    assert float(heat[0, 1].abs().sum()) == 0.0
