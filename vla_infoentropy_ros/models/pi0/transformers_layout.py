# SPDX-License-Identifier: Apache-2.0
"""What transformers' processor for pi0 saved beside a checkpoint: statistics and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_infoentropy_ros.models.action_statistics import DOF
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.json_fields import Fields, read_json
from vla_infoentropy_ros.models.lerobot.cameras import GREY_BEHIND, Cameras, named
from vla_infoentropy_ros.models.lerobot.features import MOST_CAMERAS
from vla_infoentropy_ros.models.lerobot.policy import Interface
from vla_infoentropy_ros.models.lerobot.prompt import NewlinePrompt
from vla_infoentropy_ros.models.lerobot.statistics import Scaling
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.pi0.config import Pi0Config

PROCESSOR = "processor_config.json"
CUBIC = 3  # PIL's number for that way of resampling


def read_interface(
    folder: Path, config: Pi0Config, prompt: NewlinePrompt, options: LoadOptions
) -> Interface:
    """Raises PolicyError where the file or the options leave open what goes in or comes out."""
    if not (folder / PROCESSOR).is_file():
        raise PolicyError(
            f"{folder / PROCESSOR} is missing, so nothing says by what numbers were normalised; "
            "save the processor with state_mean, state_std, actions_mean and actions_std beside "
            "the model"
        )
    processor = Fields(PROCESSOR, read_json(folder / PROCESSOR))
    _check_pictures(processor.object("image_processor", {}), config.vision.image)
    state, action = _scaling(processor, "state"), _scaling(processor, "actions")
    if len(action.offset) != DOF:
        processor.refuse("actions_mean", f"a list of {DOF} numbers: x, y, z, three rotations and "
                         "the gripper; arms driven joint by joint cannot be driven here")
    config.flow.check(len(state.offset), len(action.offset))
    cameras = Cameras.of(_names(options), config.vision.image, options, GREY_BEHIND)
    return Interface.of(cameras, prompt, state, action, config.flow.action_size, options)


def _names(options: LoadOptions) -> tuple[str, ...]:
    names = named(options)
    if not 1 <= len(names) <= MOST_CAMERAS:
        raise PolicyError(
            f"cameras={options.cameras!r}: a pi0 checkpoint in transformers' layout does not say "
            f"which cameras it was trained with; name 1 to {MOST_CAMERAS}, commas between, in the "
            "order of training"
        )
    return names


def _scaling(processor: Fields, name: str) -> Scaling:
    """Mean and standard deviation of a feature."""
    listed = processor.values.get(f"{name}_mean")
    size = len(listed) if isinstance(listed, list) and listed else 1
    mean = np.asarray(processor.numbers(f"{name}_mean", size))
    std = np.asarray(processor.numbers(f"{name}_std", size, low=0.0, high=1e9))
    return Scaling.around(mean, std)


def _check_pictures(processor: Fields, image: int) -> None:
    """Raise PolicyError for pictures that are prepared in another way than `GREY_BEHIND`."""
    for name in ("do_resize", "do_rescale", "do_normalize", "do_pad"):
        if not processor.flag(name, True):
            processor.refuse(name, "true")
    if processor.flag("do_center_crop", False):
        processor.refuse("do_center_crop", "false: whole pictures are seen")
    if abs(255.0 * processor.number("rescale_factor", 1 / 255) - 1.0) > 1e-6:
        processor.refuse("rescale_factor", "1/255")
    if processor.integer("resample", CUBIC, low=0) != CUBIC:
        processor.refuse("resample", f"{CUBIC}, cubic")
    for name in ("image_mean", "image_std"):
        if processor.numbers(name, 3, [0.5] * 3) != [0.5] * 3:
            processor.refuse(name, "[0.5, 0.5, 0.5]")
    edges = {"size": ("max_height", "max_width"), "pad_size": ("height", "width")}
    for name, keys in edges.items():
        size = processor.object(name, dict.fromkeys(keys, image))
        for key in keys:
            if size.integer(key) != image:
                size.refuse(key, f"{image}, the vision tower's own size")
