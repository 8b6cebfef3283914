# SPDX-License-Identifier: Apache-2.0
"""How a policy is loaded: where it runs, and what its checkpoint does not say about itself.

The one table behind `load_policy`, the flags of the commands and the parameters of the node; no
torch in here.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

from vla_infoentropy_ros.knobs import SettingError, check_knobs, knob

DTYPES = ("float32", "bfloat16", "float16")
GRIPPER_CONVENTIONS = ("one_is_open", "minus_one_is_open", "one_is_closed")

# rpy: extrinsic roll, pitch, yaw increments. axis_angle: unit axis times angle. Both in rad.
ROTATION_CONVENTIONS = ("rpy", "axis_angle")

# si: metres and radians. osc_pose: the [-1, 1] inputs of robosuite's OSC_POSE controller.
ACTION_UNITS = ("si", "osc_pose")

# Which part of the picture is used. centre_0.9_area: the middle nine tenths by area, scaled
# back up; for checkpoints that were trained with random crops of that size.
CROPS = ("none", "centre_0.9_area")

# How the camera picture is turned before anything else. half_turn: by 180 degrees, as LIBERO's
# frames were for training.
IMAGE_ROTATIONS = ("none", "half_turn")

SHORTEST_PERIOD_S = 0.005  # no policy was trained at 200 Hz; a robot's speed is step / period


@dataclass(frozen=True)
class LoadOptions:
    """Options of `load_policy`. "" and 0 stand for the policy's own value.

    Whether this machine has the device, and the checkpoint the statistics, is seen on loading.
    """

    device: str = knob("cpu", "torch device: cpu, cuda, cuda:1, ...")
    dtype: str = knob("float32", "number format of weights and cache", choices=DTYPES)
    unnorm_key: str = knob(
        "", "statistics that un-normalise actions; empty: the checkpoint's only ones"
    )
    revision: str = knob(
        "",
        "pin: commit of a hub checkpoint, which needs one, or sha256-... of a folder, as selftest "
        "shows it; other bytes are refused; empty: no pin",
    )
    gripper: str = knob(
        "",
        "gripper convention of the actions handed out; empty: one_is_open",
        choices=("", *GRIPPER_CONVENTIONS),
    )
    rotation: str = knob(
        "",
        "how rotations of the actions handed out are written; empty: rpy",
        choices=("", *ROTATION_CONVENTIONS),
    )
    trained_rotation: str = knob(
        "",
        "how rotations in the training set were written; empty: by unnorm_key, axis_angle with "
        "osc_pose",
        choices=("", *ROTATION_CONVENTIONS),
    )
    trained_gripper: str = knob(
        "",
        "how the gripper was recorded for training; empty: one_is_open, as in every set of "
        "OpenVLA's; for SmolVLA and pi0 minus_one_is_open with osc_pose",
        choices=("", *GRIPPER_CONVENTIONS),
    )
    action_units: str = knob(
        "",
        "units of the training set's actions: si = m and rad, osc_pose = robosuite's controller "
        "inputs; empty: by unnorm_key",
        choices=("", *ACTION_UNITS),
    )
    crop: str = knob(
        "",
        "part of the picture that the checkpoint was trained to see; empty: by unnorm_key",
        choices=("", *CROPS),
    )
    image_rotation: str = knob(
        "", "turn of the camera picture before anything else; empty: none",
        choices=("", *IMAGE_ROTATIONS),
    )
    cameras: str = knob(
        "",
        "names of the cameras on image, wrist_image, third_image, commas between; refused unless "
        "they are those of training, in its order; empty: not checked",
    )
    control_period_s: float = knob(
        0.0,
        "time between two actions of the training set, s: a step's motion is spread over it, so it "
        "sets the robot's speed; 0: by unnorm_key",
        low=0.0,
        high=10.0,
    )

    def __post_init__(self) -> None:
        check_knobs(self)
        if 0.0 < self.control_period_s < SHORTEST_PERIOD_S:
            raise SettingError(
                f"control_period_s={self.control_period_s}: give at least {SHORTEST_PERIOD_S} s, "
                "or 0 for the training set's own"
            )

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> LoadOptions:
        """From what the flags of `add_load_arguments` were given."""
        return cls(**{entry.name: getattr(arguments, entry.name) for entry in fields(cls)})


def add_load_arguments(parser: argparse.ArgumentParser) -> None:
    """``--model`` and a flag for every option, for commands that load a policy."""
    group = parser.add_argument_group("the policy")
    group.add_argument("--model", default="embedded", help="embedded, a checkpoint folder, a hub "
                       "id together with --revision, or module:function for a policy of your own "
                       "(default: %(default)s)")
    for entry in fields(LoadOptions):
        choices = ", ".join(filter(None, entry.metadata["choices"] or ()))
        default = f"default: {entry.default}" if entry.default else ""
        notes = "; ".join(filter(None, (choices, default)))
        group.add_argument(
            f"--{entry.name.replace('_', '-')}", type=type(entry.default), default=entry.default,
            metavar="SECONDS" if entry.name.endswith("_s") else "NAME",
            help=entry.metadata["doc"] + (f" ({notes})" if notes else ""),
        )
