# SPDX-License-Identifier: Apache-2.0
"""Checkpoints shared by the tests of one run; writing one takes a few hundredths of a second."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.openvla import OpenVLAPolicy, load_openvla

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single-file checkpoint with two data sets. Read only."""
    return write_tiny_openvla(tmp_path_factory.mktemp("tiny") / "openvla")


@pytest.fixture(scope="session")
def policy(checkpoint: Path) -> OpenVLAPolicy:
    return load_openvla(checkpoint, LoadOptions(unnorm_key="bridge_orig"), progress=False)
