# SPDX-License-Identifier: Apache-2.0
"""Gripper, rotation and unit conventions."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.control.conventions import gripper_opening, rotation_vector
from vla_infoentropy_ros.models.conventions import (
    convert_gripper,
    convert_rotation,
)
from vla_infoentropy_ros.models.datasets import (
    DATASETS,
    RATES_HZ,
    TrainingConventions,
    assumptions,
    conventions_for,
)
from vla_infoentropy_ros.models.load_options import (
    GRIPPER_CONVENTIONS,
    ROTATION_CONVENTIONS,
    LoadOptions,
)
from vla_infoentropy_ros.models.motion_sense import GRIPPER_ENDS
from vla_infoentropy_ros.models.openvla import load_openvla
from vla_infoentropy_ros.models.openvla.tiny import VOCAB

component = st.floats(-1.7, 1.7, allow_nan=False)


def test_gripper() -> None:
    assert convert_gripper(0.9, "one_is_open") == 0.9
    assert convert_gripper(0.9, "one_is_closed") == pytest.approx(0.1)
    # The reference's LIBERO evaluation: sign(2 g - 1), then times -1.
    assert convert_gripper(0.9, "minus_one_is_open") == -1.0
    assert convert_gripper(0.1, "minus_one_is_open") == 1.0


@pytest.mark.parametrize("convention", GRIPPER_CONVENTIONS)
def test_the_robot_side_reads_what_is_handed_out(convention: str) -> None:
    assert gripper_opening(convert_gripper(1.0, convention), convention) == 1.0
    assert gripper_opening(convert_gripper(0.0, convention), convention) == 0.0
    ends = (convert_gripper(0.0, convention), convert_gripper(1.0, convention))
    assert tuple(sorted(ends)) == GRIPPER_ENDS[convention]


@given(st.tuples(component, component, component))
@settings(max_examples=200, deadline=None)
def test_rotations_are_the_same_turn(values: tuple[float, float, float]) -> None:
    vector = np.array(values)
    rpy = convert_rotation(vector, "axis_angle", "rpy")
    assert np.allclose(rotation_vector(rpy), vector, atol=1e-6)  # written independently
    if abs(abs(rpy[1]) - np.pi / 2) > 1e-3:
        assert np.allclose(convert_rotation(rpy, "rpy", "axis_angle"), vector, atol=1e-6)


@pytest.mark.parametrize("convention", ROTATION_CONVENTIONS)
def test_the_robot_side_turns_as_it_is_told(convention: str) -> None:
    vector = np.array([0.3, -0.5, 0.2])
    handed_out = convert_rotation(vector, "axis_angle", convention)
    assert np.allclose(rotation_vector(handed_out, convention), vector, atol=1e-9)


def test_same_convention_changes_nothing() -> None:
    vector = np.array([0.1, -0.2, 0.3])
    assert convert_rotation(vector, "rpy", "rpy") is vector


def test_table_and_overrides() -> None:
    assert conventions_for("bridge_orig", LoadOptions()).control_period_s == 0.2
    libero = conventions_for("libero_spatial", LoadOptions())
    assert (libero.units, libero.rotation, libero.crop) == (
        "osc_pose", "axis_angle", "centre_0.9_area")
    changed = conventions_for("libero_goal", LoadOptions(action_units="si"))
    assert changed.units == "si" and changed.crop == libero.crop
    assert changed.rotation == "axis_angle" and changed.control_period_s == 0.05
    plain = conventions_for("libero_goal", LoadOptions(crop="none", trained_rotation="rpy"))
    assert (plain.crop, plain.rotation, plain.units) == ("none", "rpy", "osc_pose")


def test_a_fine_tune_under_a_key_of_its_own() -> None:
    """The table knows nothing of it: everything is said, or the plain defaults."""
    said = LoadOptions(
        trained_rotation="axis_angle", action_units="osc_pose", crop="centre_0.9_area",
        image_rotation="half_turn", control_period_s=0.05,
    )
    assert conventions_for("my_robot", said) == TrainingConventions(
        rotation="axis_angle", units="osc_pose", crop="centre_0.9_area",
        image_rotation="half_turn", control_period_s=0.05,
    )
    assert conventions_for("my_robot", LoadOptions()) == TrainingConventions()
    inputs = conventions_for("my_robot", LoadOptions(action_units="osc_pose"))
    assert inputs.rotation == "axis_angle", "the controller takes no other"


# All keys of openvla-7b's norm_stats, as its error message lists them (openvla issue 261).
PUBLISHED_KEYS = (
    "austin_buds_dataset_converted_externally_to_rlds",
    "austin_sailor_dataset_converted_externally_to_rlds",
    "austin_sirius_dataset_converted_externally_to_rlds", "bc_z", "berkeley_autolab_ur5",
    "berkeley_cable_routing", "berkeley_fanuc_manipulation", "bridge_orig", "cmu_stretch",
    "dlr_edan_shared_control_converted_externally_to_rlds", "dobbe", "fmb_dataset",
    "fractal20220817_data", "furniture_bench_dataset_converted_externally_to_rlds",
    "iamlab_cmu_pickup_insert_converted_externally_to_rlds", "jaco_play", "kuka",
    "nyu_franka_play_dataset_converted_externally_to_rlds", "roboturk",
    "stanford_hydra_dataset_converted_externally_to_rlds", "taco_play", "toto",
    "ucsd_kitchen_dataset_converted_externally_to_rlds", "utaustin_mutex", "viola",
)


def test_every_published_key_is_in_the_table() -> None:
    assert {*DATASETS, *RATES_HZ} == set(PUBLISHED_KEYS)
    periods = {key: conventions_for(key, LoadOptions()).control_period_s for key in PUBLISHED_KEYS}
    assert (periods["kuka"], periods["toto"], periods["viola"]) == (0.1, 1 / 30, 0.05)
    assert conventions_for("bc_z", LoadOptions()).rotation == "axis_angle"


@pytest.mark.parametrize("key", ["LIBERO_90", "Libero_Spatial", "libero_10_no_noops"])
def test_libero_in_any_case(key: str) -> None:
    assert conventions_for(key, LoadOptions()) == conventions_for("libero_goal", LoadOptions())
    assert assumptions(key, LoadOptions()) == ""


def test_what_is_assumed_is_said_until_it_is_given() -> None:
    nothing_known = assumptions("my_robot", LoadOptions())
    for word in ("unnorm_key my_robot", "in no table", "control_period_s=0.2", "action_units=si",
                 "trained_rotation=rpy", "crop=none"):
        assert word in nothing_known, nothing_known
    some = assumptions("my_robot", LoadOptions(control_period_s=0.1, action_units="osc_pose"))
    assert "crop=none" in some and "period" not in some and "rotation" not in some
    assert assumptions("my_robot", LoadOptions(
        control_period_s=0.2, action_units="si", trained_rotation="rpy", crop="none"
    )) == ""


def test_a_published_key_whose_units_are_not() -> None:
    said = assumptions("taco_play", LoadOptions())
    assert "action_units=si" in said and "units are not published" in said
    assert "control_period_s" not in said
    assert assumptions("taco_play", LoadOptions(action_units="si")) == ""
    assert assumptions("bridge_orig", LoadOptions()) == ""


def test_the_load_log_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_tiny_openvla(tmp_path, image_size=56, dataset_statistics=True)
    with caplog.at_level(logging.INFO):
        load_openvla(folder, LoadOptions(), progress=False)
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1 and "assumed for unnorm_key my_robot" in warned[0].getMessage()
    assert "unnorm_key my_robot of dataset_statistics.json" in caplog.text


def test_libero_actions_leave_in_metres_and_radians(tmp_path: Path) -> None:
    folder = write_tiny_openvla(tmp_path, image_size=56, norm_keys=("libero_spatial",))
    metric = load_openvla(folder, LoadOptions(gripper="minus_one_is_open"), progress=False)
    raw = load_openvla(
        folder, LoadOptions(action_units="si", rotation="axis_angle"), progress=False
    )
    tokens = [VOCAB - 200, VOCAB - 30, VOCAB - 90, VOCAB - 128, VOCAB - 128, VOCAB - 250, VOCAB - 1]
    ours, theirs = metric.decode_action(tokens), raw.decode_action(tokens)
    assert np.allclose(ours.values[:3], theirs.values[:3] * 0.05)
    assert np.allclose(rotation_vector(ours.values[3:6]), theirs.values[3:6] * 0.5)
    assert ours.values[6] == 1.0  # closed
    assert metric.convention.control_period_s == 0.05
    assert metric.preprocessing.crop == "centre_0.9_area"
