# SPDX-License-Identifier: Apache-2.0
"""The world of a seed: the shipped one with that seed's objects."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from vla_infoentropy_ros.sim.gazebo_world import world_of
from vla_infoentropy_ros.sim.scene import CUBE_COLOURS, PLATE_COLOURS
from vla_infoentropy_ros.sim.tasks import sample_task

SDF = (Path(__file__).parents[2] / "config" / "tabletop.sdf").read_text("utf-8")


@pytest.mark.parametrize("seed", [1_000_000, 1_000_001, 1_000_007])
def test_objects_stand_where_the_seed_says(seed) -> None:
    _, layout = sample_task(seed)
    world = ElementTree.fromstring(world_of(SDF, layout, 0.25)).find("world")
    assert world.findtext("physics/real_time_factor") == "0.25"
    found = {model.get("name"): model for model in world.iter("model")}
    for kind, places, colours in (
        ("cube", layout.cubes, CUBE_COLOURS), ("plate", layout.plates, PLATE_COLOURS)
    ):
        names = {name for name in found if name.startswith(kind)}
        assert names == {f"{kind}_{colour}" for colour in places}
        for colour, place in places.items():
            model = found[f"{kind}_{colour}"]
            pose = [float(part) for part in model.findtext("pose").split()]
            np.testing.assert_allclose(pose[:2], place, atol=1e-6)
            assert 0.0 < pose[2] < 0.03 and pose[3:] == [0.0, 0.0, 0.0]
            diffuse = [float(part) for part in model.findtext(".//diffuse").split()]
            assert diffuse == [*colours[colour], 1.0]


def test_the_rest_is_the_shipped_world() -> None:
    as_written = SDF.replace("<real_time_factor>1.0<", "<real_time_factor>1<")
    _, layout = sample_task(1_000_000)
    made, shipped = map(ElementTree.fromstring, (world_of(SDF, layout, 1.0), as_written))
    for root in (made, shipped):
        (world,) = root.iter("world")
        for model in list(world.iter("model")):
            if model.get("name").startswith(("cube_", "plate_")):
                world.remove(model)
    assert ElementTree.canonicalize(ElementTree.tostring(made), strip_text=True) == (
        ElementTree.canonicalize(ElementTree.tostring(shipped), strip_text=True)
    )


def test_a_world_without_the_objects_is_refused() -> None:
    _, layout = sample_task(1_000_000)
    with pytest.raises(ValueError, match=r"0 models cube_\*, the scene has 3"):
        world_of(SDF.replace("cube_", "block_"), layout, 1.0)
    with pytest.raises(ValueError, match="real_time_factor"):
        world_of("<sdf><world/></sdf>", layout, 1.0)
