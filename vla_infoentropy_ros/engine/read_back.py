# SPDX-License-Identifier: Apache-2.0
"""What the host wants of the device, in one transfer: each would wait for all that was queued."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray


def read_back(parts: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float32]]:
    """Every tensor, flat, by its name. Integers must be below 2^24, where float32 is exact."""
    flat = torch.cat([part.flatten().float() for part in parts.values()]).cpu().numpy()
    ends = np.cumsum([part.numel() for part in parts.values()])
    return dict(zip(parts, np.split(flat, ends[:-1]), strict=True))
