# SPDX-License-Identifier: Apache-2.0
"""Settings for all tests."""

import torch
from hypothesis import HealthCheck, settings

# Tiny tensors: a second thread only costs, and results must not depend on the machine.
torch.set_num_threads(1)

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)
settings.load_profile("default")
