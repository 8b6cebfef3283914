# SPDX-License-Identifier: Apache-2.0
"""Scenes of the tabletop as worlds for Gazebo: ``config/tabletop.sdf`` with other objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import numpy as np

from vla_infoentropy_ros.sim.scene import CUBE_COLOURS, CUBE_HALF, PLATE_COLOURS, PLATE_HEIGHT
from vla_infoentropy_ros.sim.tasks import Layout

Colours = Mapping[str, tuple[float, float, float]]


def world_of(sdf: str, layout: Layout, pace: float) -> str:
    """The world ``sdf`` with its cubes and plates where and of the colours that ``layout`` says.

    pace: simulated seconds per second of the wall, at most. The hand begins where the world has it.
    Raises ValueError where the world has other numbers of cubes and plates than the layout.
    """
    root = ElementTree.fromstring(sdf)  # noqa: S314 - our own file
    world = root.find("world")
    factor = None if world is None else world.find("physics/real_time_factor")
    if world is None or factor is None:
        raise ValueError("sdf: need a <world> with <physics><real_time_factor>")
    factor.text = f"{pace:g}"
    _arrange(world, "cube", CUBE_COLOURS, layout.cubes, CUBE_HALF)
    _arrange(world, "plate", PLATE_COLOURS, layout.plates, PLATE_HEIGHT / 2.0)
    return ElementTree.tostring(root, encoding="unicode")


def _arrange(
    world: ElementTree.Element, kind: str, colours: Colours, places: Mapping[str, np.ndarray],
    height: float,
) -> None:
    """The models ``kind_*``, in turn, become those of ``places``; height: of their centre, m."""
    models = [each for each in world.iter("model") if each.get("name", "").startswith(f"{kind}_")]
    if len(models) != len(places):
        raise ValueError(f"sdf: {len(models)} models {kind}_*, the scene has {len(places)}")
    for model, (colour, (x, y)) in zip(models, places.items(), strict=True):
        model.set("name", f"{kind}_{colour}")
        _write(model, "pose", (x, y, height, 0.0, 0.0, 0.0))
        for tone in ("ambient", "diffuse"):
            _write(model, f".//material/{tone}", (*colours[colour], 1.0))


def _write(model: ElementTree.Element, path: str, values: Sequence[float]) -> None:
    element = model.find(path)
    if element is None:
        raise ValueError(f"sdf: {model.get('name')} has no {path}")
    element.text = " ".join(f"{value:.6g}" for value in values)
