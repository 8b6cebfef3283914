# SPDX-License-Identifier: Apache-2.0
"""The law against a world of points: what is between closed fingers moves with the hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from vla_infoentropy_ros.libero.expert import (
    CLOSE,
    HAND,
    Body,
    Scene,
    delivered,
    expert_action,
    grasp_point,
)

CORNERS = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (0, 2)], float)
STEP = 0.012  # metres that a full command moves the hand, about as the controller does


def box(x: float, y: float, size: tuple[float, float, float], z: float = 0.0) -> Body:
    half = np.array(size) / 2
    return Body.around(CORNERS * half + [x, y, z])


@dataclass
class Points:
    """Bodies without weight; a released one drops to ``floor`` at once."""

    bodies: dict[str, Body]
    hand: np.ndarray = field(default_factory=lambda: np.array([-0.15, 0.0, 0.26]))
    held: str = ""

    def scene(self) -> Scene:
        return Scene(self.hand, self.bodies, frozenset({self.held} - {""}), 0.0)

    def step(self, action: np.ndarray, what: str) -> None:
        move = action[:3] * STEP
        self.hand = self.hand + move
        if self.held:
            self.bodies[what] = Body.around(self.bodies[what].points + move)
        gap = np.abs(self.hand - grasp_point(self.scene(), what))
        if action[6] == CLOSE and (gap < 0.02).all():
            self.held = what
        if action[6] != CLOSE and self.held:
            self.held = ""
            points = self.bodies[what].points
            self.bodies[what] = Body.around(points - [0, 0, points[:, 2].min()])


BASKET = box(0.0, 0.26, (0.157, 0.17, 0.141))


@pytest.mark.parametrize("size", [(0.08, 0.043, 0.018), (0.06, 0.06, 0.076), (0.04, 0.05, 0.146)])
@pytest.mark.parametrize("start", [(-0.15, 0.0, 0.26), (0.1, 0.25, 0.05), (0.06, -0.1, 0.2)])
def test_every_thing_reaches_the_basket_from_everywhere(
    size: tuple[float, float, float], start: tuple[float, float, float]
) -> None:
    world = Points({"thing_1": box(0.05, -0.1, size), "basket_1": BASKET}, np.array(start))
    steps = 0
    while not delivered(world.scene(), "thing_1", "basket_1"):
        steps += 1
        assert steps < 200
        action = expert_action(world.scene(), "thing_1", "basket_1")
        assert action.shape == (7,) and (np.abs(action) <= 1.0).all()
        assert (action[3:6] == 0.0).all()
        world.step(action, "thing_1")


def test_a_bowl_is_taken_by_its_rim_and_set_down_on_the_plate() -> None:
    bodies = {"bowl_1": box(0.05, -0.1, (0.107, 0.107, 0.051)),
              "plate_1": box(0.05, 0.2, (0.137, 0.138, 0.019))}
    world = Points(bodies)
    grasp = grasp_point(world.scene(), "bowl_1")
    assert abs(grasp[1] + 0.1) > 0.045 and 0.02 < grasp[2] < 0.051
    lowest = np.inf
    for _ in range(250):
        world.step(expert_action(world.scene(), "bowl_1", "plate_1"), "bowl_1")
        if not world.held and delivered(world.scene(), "bowl_1", "plate_1"):
            break
        if world.held:
            lowest = float(world.bodies["bowl_1"].low[2])
    assert delivered(world.scene(), "bowl_1", "plate_1") and lowest < 0.035


def test_a_grasp_keeps_palm_and_fingers_off_the_neighbours() -> None:
    flat = box(0.05, -0.1, (0.08, 0.043, 0.018))
    can = box(0.1, -0.2, (0.06, 0.06, 0.076))  # under the palm, were the box taken in its middle
    scene = Scene(np.zeros(3), {"flat_1": flat, "can_1": can}, frozenset(), 0.0)
    grasp = grasp_point(scene, "flat_1")
    for low, high in HAND:
        assert not ((can.low < grasp + high) & (can.high > grasp + low)).all()
    alone = grasp_point(replace(scene, bodies={"flat_1": flat}), "flat_1")
    assert alone[0] == pytest.approx(0.05) and grasp[0] < alone[0]


def test_nothing_is_carried_through_what_stands_beside() -> None:
    bodies = {"thing_1": box(0.0, -0.2, (0.06, 0.06, 0.05)),
              "wall_1": box(0.0, -0.13, (0.1, 0.02, 0.05)), "basket_1": BASKET}
    world = Points(bodies)
    for _ in range(250):
        world.step(expert_action(world.scene(), "thing_1", "basket_1"), "thing_1")
        thing, wall = world.bodies["thing_1"], bodies["wall_1"]
        assert not ((thing.low < wall.high) & (thing.high > wall.low)).all()
        if delivered(world.scene(), "thing_1", "basket_1"):
            return
    pytest.fail("never delivered")


def test_bodies_know_what_they_meet_and_what_is_on_them() -> None:
    can = box(0.0, 0.0, (0.06, 0.06, 0.08))
    assert can.meets(can.moved(np.array([0.05, 0.0])))
    assert not can.meets(can.moved(np.array([0.07, 0.0])))
    cabinet = replace(box(0.0, 0.0, (0.4, 0.4, 0.4)), hollow=True)  # its corners are elsewhere
    assert not can.meets(cabinet) and not cabinet.meets(can)
    assert can.meets(replace(cabinet, points=np.array([[0.0, 0.0, 0.04]])))
    assert can.meets_hand(np.array([0.0, 0.04, 0.05]))  # a finger within it
    assert not can.meets_hand(np.array([0.0, 0.0, 0.06]))  # between both
    bowl = box(0.02, 0.0, (0.1, 0.1, 0.05), z=0.08)
    assert can.is_under(bowl) and not bowl.is_under(can)
    assert not can.is_under(bowl.moved(np.array([0.1, 0.0])))
