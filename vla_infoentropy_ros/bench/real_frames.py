# SPDX-License-Identifier: Apache-2.0
"""How many tokens the papers' selectors reuse on recordings of real cameras: a number that was not
fitted to any total, to hold the totals against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.driving.images import PackedPicture, RawPicture
from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.replay.bag_recording import BagRecording
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.recording import COMPRESSED, RAW, Window
from vla_infoentropy_ros.selection import SelectionSettings, build_selector
from vla_infoentropy_ros.session import Session

_INSTRUCTION = "put the red cube on the white plate"


def counted(
    bags: Sequence[Path], presets: Mapping[str, SelectionSettings]
) -> dict[str, dict[str, int]]:
    """`reused` on each recording, by its name, attention that of the embedded policy."""
    policy = load_policy("embedded", LoadOptions()) if bags else None
    return {bag.name: reused(policy, pictures(bag), presets) for bag in bags if policy}


def pictures(bag: Path) -> list[NDArray[np.uint8]]:
    """Those of the first camera, (h, w, 3) RGB. Raises BagError for fewer than two: nothing is
    reused in the first."""
    with closing(BagRecording(bag)) as recording:
        found = [
            (RawPicture if event.kind == RAW else PackedPicture).of(event.content).rgb()
            for event in recording.events(Window())
            if event.kind in (RAW, COMPRESSED) and not event.view
        ]
    if len(found) < 2:
        raise BagError(f"{bag} holds {len(found)} images of {recording.cameras[0]}: counting reuse "
                       "takes two or more")
    return found


def reused(
    policy: PolicyAdapter, seen: list[NDArray[np.uint8]], presets: Mapping[str, SelectionSettings]
) -> dict[str, int]:
    """Mean size of the reuse set of each preset of `published.PUBLISHED`, after the first frame.

    What is still comes from the pictures, what is attended to from ``policy``, which is not the
    papers'. Of vla_cache the set before its layers take their shares, as the totals are solved
    for: with every layer taking one, undamped, the sharpest takes all of it.
    """
    whole = {"cache_layers": tuple(range(32)), "cache_damping": 1.0}
    found = {}
    for name, selector, changes in (("paper_vla_cache", "vla_cache", whole),
                                    ("paper_infoentropy", "info_entropy", {})):
        settings = replace(presets[name], **changes)  # type: ignore[arg-type]
        session = Session(policy, build_selector(selector, settings=settings))
        session.set_instruction(_INSTRUCTION)
        steps = [session.step([picture]) for picture in seen]
        found[name] = round(float(np.mean([step.report.reused for step in steps[1:]])))
    return found
