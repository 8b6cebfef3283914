# SPDX-License-Identifier: Apache-2.0
"""Examples are run, and stay short."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np

from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.selection import SelectionSettings, build_selector
from vla_infoentropy_ros.selftest import run_selftest
from vla_infoentropy_ros.session import Session

OWN_MODEL = Path(__file__).parents[1] / "examples" / "own_model.py"


def test_a_model_of_ones_own_runs_with_reuse_and_passes_the_self_test() -> None:
    assert len(OWN_MODEL.read_text().splitlines()) < 60
    policy = runpy.run_path(str(OWN_MODEL))["load"]("own", LoadOptions())
    report = run_selftest(policy)
    assert report.passed, report.table()
    settings = SelectionSettings(fresh_tokens=4, reuse_from_layer=0)
    session = Session(policy, build_selector("attention_drift", "linear", settings))
    session.set_instruction("open the box")
    rng = np.random.default_rng(0)
    fresh = [
        session.step([rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)]).report.fresh
        for _ in range(3)
    ]
    assert fresh == [16, 4, 4]
