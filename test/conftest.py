# SPDX-License-Identifier: Apache-2.0
"""Settings for all tests."""

import os

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
