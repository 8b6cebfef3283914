# SPDX-License-Identifier: Apache-2.0
"""What the numbers of a training set mean, by its unnorm_key; written nowhere in a checkpoint.

Whatever the table does not know is assumed out loud: `assumptions` says it, for the load log and
the self-test. Everything can be overridden by `LoadOptions`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from vla_infoentropy_ros.models.load_options import LoadOptions


@dataclass(frozen=True)
class TrainingConventions:
    """What one training set means. control_period_s: time between two of its actions, s.
    crop: which crop its fine-tunes expect. The gripper of every OpenVLA set is 1 = open, 0 =
    closed, by its data loader."""

    rotation: str = "rpy"
    units: str = "si"
    crop: str = "none"
    image_rotation: str = "none"
    control_period_s: float = 0.2


# Frames are never turned by default: a camera driver usually delivers them upright, LIBERO's
# simulator does not.
LIBERO = TrainingConventions(
    rotation="axis_angle", units="osc_pose", crop="centre_0.9_area", control_period_s=0.05
)
DATASETS = {
    "bridge_orig": TrainingConventions(control_period_s=0.2),
    "fractal20220817_data": TrainingConventions(control_period_s=1 / 3),
}

_RLDS = "_dataset_converted_externally_to_rlds"
# The other sets that openvla-7b was trained on: their control rate, Hz, and whether their actions
# are increments in metres and radians is not stated anywhere. OpenVLA's loader makes
# roll-pitch-yaw of all but one.
RATES_HZ = {
    "kuka": 10, "taco_play": 15, "jaco_play": 10, "berkeley_cable_routing": 10, "roboturk": 10,
    "viola": 20, "berkeley_autolab_ur5": 5, "toto": 30, f"stanford_hydra{_RLDS}": 10,
    f"austin_buds{_RLDS}": 20, f"nyu_franka_play{_RLDS}": 3, f"furniture_bench{_RLDS}": 10,
    f"ucsd_kitchen{_RLDS}": 2, f"austin_sailor{_RLDS}": 20, f"austin_sirius{_RLDS}": 20,
    "dlr_edan_shared_control_converted_externally_to_rlds": 5,
    "iamlab_cmu_pickup_insert_converted_externally_to_rlds": 20, "utaustin_mutex": 20,
    "berkeley_fanuc_manipulation": 10, "cmu_stretch": 10, "bc_z": 10, "fmb_dataset": 10,
    "dobbe": 3.75,
}  # fmt: skip
AXIS_ANGLE = ("bc_z",)

# Option of `LoadOptions`: the field that it overrides.
OPTIONS = {
    "control_period_s": "control_period_s", "action_units": "units",
    "trained_rotation": "rotation", "crop": "crop",
}


def conventions_for(norm_key: str, options: LoadOptions) -> TrainingConventions:
    """The table's entry for a training set, except where the options say otherwise."""
    base = _entry(norm_key)
    # The controller takes nothing but axis-angle rotations, so its inputs imply them.
    own_rotation = "axis_angle" if options.action_units == "osc_pose" else base.rotation
    return TrainingConventions(
        rotation=options.trained_rotation or own_rotation,
        units=options.action_units or base.units,
        crop=options.crop or base.crop,
        image_rotation=options.image_rotation or base.image_rotation,
        control_period_s=options.control_period_s or base.control_period_s,
    )


def assumptions(norm_key: str, options: LoadOptions) -> str:
    """What neither the table nor the options say, in a sentence; "" where nothing is assumed."""
    if _is_libero(norm_key) or norm_key in DATASETS:
        return ""
    known = ("control_period_s", "trained_rotation", "crop") if norm_key in RATES_HZ else ()
    chosen = conventions_for(norm_key, options)
    values = {name: getattr(chosen, field) for name, field in OPTIONS.items()}
    given = {entry.name for entry in fields(options)
             if getattr(options, entry.name) != entry.default}
    if options.action_units == "osc_pose":
        given.add("trained_rotation")
    open_ones = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items() if name not in (*known, *given)
    ]
    if not open_ones:
        return ""
    place = "its units are not published" if known else "it is in no table"
    return (
        f"assumed for unnorm_key {norm_key}, since {place}: {', '.join(open_ones)}; set what "
        "differs, and what does not to the same, which ends this warning"
    )


def _is_libero(norm_key: str) -> bool:
    return norm_key.lower().startswith("libero")


def _entry(norm_key: str) -> TrainingConventions:
    if _is_libero(norm_key):
        return LIBERO
    if norm_key in RATES_HZ:
        return TrainingConventions(
            rotation="axis_angle" if norm_key in AXIS_ANGLE else "rpy",
            control_period_s=1 / RATES_HZ[norm_key],
        )
    return DATASETS.get(norm_key, TrainingConventions())
