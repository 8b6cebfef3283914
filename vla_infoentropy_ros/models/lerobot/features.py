# SPDX-License-Identifier: Apache-2.0
"""What a LeRobot policy sees and gives, by its config.json."""

from __future__ import annotations

from dataclasses import dataclass

from vla_infoentropy_ros.models.action_statistics import DOF
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.json_fields import Fields

STATE, ACTION = "observation.state", "action"
CAMERA = "observation.image"  # or images.NAME
# Cameras that training left black and hidden from every other row: they are as good as not there.
EMPTY_CAMERA = "observation.images.empty_camera_"
KINDS = ("VISUAL", "STATE", "ACTION")
MOST_CAMERAS = 3


@dataclass(frozen=True)
class Features:
    """cameras: names of the pictures in the order of training. state, action: how many numbers."""

    cameras: tuple[str, ...]
    state: int
    action: int

    @classmethod
    def read(cls, config: Fields) -> Features:
        """From ``input_features`` and ``output_features``. Raises PolicyError for what no part of
        this package could give or carry out."""
        for name in ("adapt_to_pi_aloha", "use_delta_joint_actions_aloha"):
            if config.flag(name, False):
                config.refuse(name, "false: its actions are joint angles of ALOHA's two arms")
        inputs, outputs = config.object("input_features"), config.object("output_features")
        kinds = {name: inputs.object(name).choice("type", KINDS) for name in inputs.values}
        others = [name for name, kind in kinds.items() if kind != "VISUAL" and name != STATE]
        if others:
            inputs.refuse(others[0], f"no input of this policy: it takes pictures and {STATE}")
        cameras = tuple(
            name for name, kind in kinds.items()
            if kind == "VISUAL" and not name.startswith(EMPTY_CAMERA)
        )
        if not 1 <= len(cameras) <= MOST_CAMERAS:
            raise PolicyError(
                f"{config.file}: input_features names {len(cameras)} cameras, must be 1 to "
                f"{MOST_CAMERAS}; name a checkpoint with so many"
            )
        if list(outputs.values) != [ACTION]:
            raise PolicyError(
                f"{config.file}: output_features holds {', '.join(outputs.values) or 'nothing'}, "
                f"must be {ACTION} alone; name a policy that gives actions"
            )
        return cls(cameras, _size(inputs, STATE), _action_size(outputs))


def _size(features: Fields, name: str) -> int:
    shape = features.object(name)
    return Fields(
        shape.file, {"shape": shape.items("shape", 1, "sizes")[0]}, shape.where
    ).integer("shape", high=1024)


def _action_size(outputs: Fields) -> int:
    """Joint angles of an arm of six and a gripper for an end effector's motion would be obeyed
    without an error, and wrongly."""
    size = _size(outputs, ACTION)
    if size != DOF:
        raise PolicyError(
            f"{outputs.file}: the policy gives {size} numbers, as arms have that are driven joint "
            f"by joint; this package drives an end effector by {DOF}: x, y, z, three rotations and "
            "the gripper, increments of one control period. It would take a command of joint "
            "positions in control/ and limits for each joint; name a checkpoint that was trained "
            "on increments of the end effector"
        )
    return size


def short_name(camera: str) -> str:
    """``top`` for observation.images.top."""
    return camera.rpartition(".")[2]
