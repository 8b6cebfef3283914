# SPDX-License-Identifier: Apache-2.0
"""What a replay leaves behind in its folder: a bag, replay.json, report.html."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vla_infoentropy_ros.argument_types import out_file
from vla_infoentropy_ros.driving.driver import Step
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.driving.telling import action_values, selection_values, step_values
from vla_infoentropy_ros.replay.bag_writer import BagWriter, RawMessage
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.folder import claim_folder, empty_folder
from vla_infoentropy_ros.replay.stepping import Moment
from vla_infoentropy_ros.replay.types import ACTION, COMPRESSED_IMAGE, SELECTION, STATUS, packed
from vla_infoentropy_ros.report.replay_page import ReplayRecord, replay_page
from vla_infoentropy_ros.report.views import draw_overlay
from vla_infoentropy_ros.session import SessionOptions, decoding
from vla_infoentropy_ros.variants import Variant

FIGURES, PAGE, BAG = "replay.json", "report.html", "bag"
_RUNNING = 3  # InferenceStatus.RUNNING
_OTHER = re.compile(r"[^A-Za-z0-9_]")  # than a topic's name may hold; a plug-in's may hold any


def claim(folder: Path, recording: Path) -> None:
    """Make ``folder`` ours; the recording must not lie where results are written."""
    source = recording.resolve()
    place = folder.resolve()
    if (place.is_relative_to(source) or place == source.parent
            or source.is_relative_to((folder / BAG).resolve())):
        raise BagError(f"--out {folder} is where the recording {recording} lies: name another "
                       "folder, for its bag and files are replaced")
    claim_folder(folder, "replay")


def empty(folder: Path) -> None:
    """Without an earlier replay's results; raises as `folder.empty_folder`."""
    empty_folder(folder, (FIGURES, PAGE))


def check_place(file: Path, recording: Path) -> None:
    """Raise BagError where ``file`` would be written over a part of the recording, or cannot be."""
    if file.resolve().is_relative_to(recording.resolve()):
        raise BagError(f"--json {file} lies in the recording {recording}, which is not changed: "
                       "name another place")
    try:
        out_file(str(file))
    except argparse.ArgumentTypeError as error:
        raise BagError(f"--json {error}") from error


class ReplayBag:
    """The bag: action, selection, status and overlay of every step of each variant, at the times
    of the recording, below ``/replay/<variant>``. Use it as a context manager."""

    def __init__(
        self, path: Path, policy: Any, variants: Mapping[str, Variant],
        settings: PolicyNodeSettings,
    ) -> None:
        about = {"policy": str(policy.name), "variants": ", ".join(variants)}
        self._writer = BagWriter(path, about=about)
        self._policy, self._variants, self._schedule = policy, variants, settings.node.schedule
        command, frame = settings.command, policy.convention.frame
        self._frame_id = command.base_frame if frame == "base" else command.tool_frame
        self._sequence = dict.fromkeys(variants, 0)

    def __enter__(self) -> ReplayBag:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)

    def add(self, moment: Moment) -> None:
        """All messages of one moment."""
        for name, step in moment.steps.items():
            place = f"/replay/{_OTHER.sub('_', name)}"
            for topic, type_name, values in self._told(name, step):
                self._writer.add(RawMessage(f"{place}/{topic}", type_name, moment.time_ns,
                                            packed(type_name, values)))
            self._sequence[name] += 1

    def _told(self, name: str, step: Step) -> list[tuple[str, str, dict[str, Any]]]:
        policy, convention, result = self._policy, self._policy.convention, step.result
        variant = self._variants[name]
        header = (step.frame.stamp_ns, step.frame.frame_id)
        action = action_values(step, convention, self._frame_id)
        selection = selection_values(step.frame, result, policy, (variant.selector, self._schedule))
        status = {
            "header": (step.stamp_ns, ""),
            "state": _RUNNING,
            "dry_run": True,
            "instruction": step.instruction,
            "selector": variant.selector,
            "schedule": self._schedule,
            "decode": decoding(policy, SessionOptions(decode=variant.decode)),
            "checkpoint": policy.name,
            "revision": policy.revision,
            "norm_key": policy.norm_key,
            "frame_convention": convention.frame,
            "rotation_convention": convention.rotation,
            "gripper_convention": convention.gripper,
            "actions_issued": self._sequence[name] + 1,
            **step_values(result),
        }
        picture = draw_overlay(result.image, result.report.reasons, policy.grid)
        _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]))
        overlay = {"header": header, "format": "rgb8; jpeg compressed bgr8", "data": jpeg.ravel()}
        return [
            ("action", ACTION, action | {"sequence": self._sequence[name]}),
            ("selection", SELECTION, selection),
            ("status", STATUS, status),
            ("overlay/compressed", COMPRESSED_IMAGE, overlay),
        ]


def write_figures(path: Path, figures: Mapping[str, Any]) -> None:
    """JSON that every parser takes; whole, or not there."""
    _write(path, json.dumps(figures, indent=2, allow_nan=False) + "\n")


def write_page(folder: Path, record: ReplayRecord) -> None:
    _write(folder / PAGE, replay_page(record))


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BagError(f"{path} cannot be written: {error.strerror}; make room or name another "
                       "place") from error
