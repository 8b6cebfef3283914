# SPDX-License-Identifier: Apache-2.0
"""The policy for LIBERO that comes with the package: it fits its recipe and its benchmark."""

from __future__ import annotations

import json

import numpy as np

from vla_infoentropy_ros.libero.suites import INSTRUCTIONS
from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.models.loading import SHIPPED, load_policy
from vla_infoentropy_ros.selftest import run_selftest
from vla_infoentropy_ros.serve.actions import ActionForm
from vla_infoentropy_ros.training.libero.recipe import Recipe

FOLDER = SHIPPED["embedded_libero"]


def test_files_are_those_of_the_recipe() -> None:
    policy = load_policy("embedded_libero")
    assert isinstance(policy, EmbeddedPolicy)
    record = json.loads((FOLDER / "training.json").read_text(encoding="utf-8"))
    assert record["revision"] == policy.config.revision == record["stages"][-1]["revision"]
    recipe = Recipe().policy_config(policy.config.revision)
    assert policy.config == recipe
    assert (FOLDER / "policy.safetensors").stat().st_size < 20e6


def test_it_passes_the_self_test_and_speaks_the_benchmark_s_actions() -> None:
    policy = load_policy("embedded_libero")
    assert all(check.passed for check in run_selftest(policy).checks)
    form = ActionForm("osc_pose", policy.convention)
    for instruction in INSTRUCTIONS[::7]:
        written = form.write(policy.act(np.zeros((256, 256, 3), np.uint8), instruction))
        assert (np.abs(written) <= 1.0).all() and (written[3:6] == 0.0).all()
