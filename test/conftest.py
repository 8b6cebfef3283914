# SPDX-License-Identifier: Apache-2.0
"""Settings for all tests."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# No robot in the network may hear what a test commands.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

# Tiny tensors: a second thread only costs, and results must not depend on the machine.
torch.set_num_threads(1)

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)
settings.load_profile("default")

# On a graph, by the clock, or with programs of their own: one after the other, beside the rest.
TIMED = ("arms", "bench", "demo", "docs", "launch", "launch_runner", "nodes", "test_examples.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] in TIMED:
            item.add_marker(pytest.mark.xdist_group("timed"))
