# SPDX-License-Identifier: Apache-2.0
"""Pick and place from privileged state: a stateless law of (scene, what, where).

Every state has an answer, so any picture can be labelled for any goal, whoever drove the robot
there. Heights follow funnels: a target that sinks while the hand comes closer sideways keeps every
label a smooth function of what the picture shows. The hand keeps its orientation: every object of
the two suites fits between fingers that open along y.

Lengths in metres, the world's frame: x away from the robot, y to its left, z up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REACH = 0.03
"""Metres of error that are answered with a full command. A full command asks the controller
(OSC_POSE) for 0.05 m, so this presses harder than the error; with less, friction holds the last
centimetre up."""

OPEN, CLOSE = -1.0, 1.0
DOWN_FROM_TOP = 0.026  # the palm meets what reaches further up between the fingers
OVER_GROUND = 0.012  # the lowest grasp
RIM_DEPTH, RIM_INSET = 0.018, 0.004
TRAVEL = 0.19  # above the ground: over everything that stands there
CLEARANCE = 0.05  # between what is carried and what it passes over
GRASP_SIDE, GRASP_HEIGHT = 0.012, 0.010  # how close to the grasp the fingers close
NEAR_PLACE = 0.06  # from here on only the way down matters
FUNNEL = 2.0  # metres of height per metre sideways


HAND = (
    (np.array([-0.016, -0.068, -0.010]), np.array([0.016, -0.030, 0.060])),
    (np.array([-0.016, 0.030, -0.010]), np.array([0.016, 0.068, 0.060])),
    (np.array([-0.036, -0.105, 0.030]), np.array([0.036, 0.105, 0.200])),
)
"""Corners of the opened hand's fingers and palm, from the point between the finger tips."""


@dataclass(frozen=True)
class Body:
    """A rigid object: points (N, 3) on its surface, low and high (3,) corners of their box.

    hollow: things stand within its box (a cabinet), so the box alone says nothing.
    """

    points: Array
    low: Array
    high: Array
    hollow: bool = False

    @classmethod
    def around(cls, points: Array, hollow: bool = False) -> Body:
        """The body that has these points."""
        return cls(points, points.min(axis=0), points.max(axis=0), hollow)

    @property
    def centre(self) -> Array:
        """Middle of the box, (3,)."""
        return (self.low + self.high) / 2

    def moved(self, offset: Array) -> Body:
        """Sideways by ``offset`` (2,)."""
        by = np.array([*offset, 0.0])
        return Body(self.points + by, self.low + by, self.high + by, self.hollow)

    def is_under(self, other: Body) -> bool:
        """Whether ``other`` is above it and over it."""
        return bool(other.low[2] > self.centre[2] and (self.low < other.high)[:2].all()
                    and (self.high > other.low)[:2].all())

    def meets(self, other: Body) -> bool:
        """Whether the boxes overlap, or points of a hollow one lie in the other's."""
        hollow, box = (self, other) if self.hollow else (other, self)
        return bool((self.low < other.high).all() and (self.high > other.low).all()) and (
            not hollow.hollow or _inside(hollow.points, (box.low, box.high)))

    def meets_hand(self, hand: Array) -> bool:
        """Whether the opened hand at ``hand`` (3,) would be within it."""
        return any(self.meets(Body.around(np.array(box) + hand)) for box in HAND)


@dataclass(frozen=True)
class Scene:
    """hand: (3,) between the finger tips; bodies: by name; held: names between both fingers;
    ground: height of floor or table."""

    hand: Array
    bodies: Mapping[str, Body]
    held: frozenset[str]
    ground: float


def expert_action(scene: Scene, what: str, where: str) -> Array:
    """The next command (7,) in the controller's units, [-1, 1]; 1 closes the gripper."""
    if what in scene.held:
        return _carry(scene, what, where)
    if delivered(scene, what, where):
        return _command(np.array([0.0, 0.0, 0.05]), OPEN)
    grasp = grasp_point(scene, what)
    error = grasp - scene.hand
    side = float(np.hypot(*error[:2]))
    if side < GRASP_SIDE and abs(error[2]) < GRASP_HEIGHT:
        return _command(error, CLOSE)
    top = max(scene.ground + TRAVEL, grasp[2] + 0.06)
    above = float(np.clip(FUNNEL * (side - GRASP_SIDE / 2), 0.0, top - grasp[2]))
    return _command(_sink(error[:2], grasp[2] + above - scene.hand[2]), OPEN)


def delivered(scene: Scene, what: str, where: str) -> bool:
    """Let go within the middle of ``where``, seen from above, and not over it."""
    thing, place = scene.bodies[what], scene.bodies[where]
    offset = np.abs(thing.centre[:2] - place.centre[:2])
    inner = 0.35 * (place.high[:2] - place.low[:2])
    return what not in scene.held and bool(
        (offset < inner).all() and thing.low[2] < place.high[2]
    )


def grasp_point(scene: Scene, what: str) -> Array:
    """Where the finger tips meet, (3,): near a box's middle, or on a bowl's rim; of the possible
    places the one where the hand meets nothing else, then the nearest to the middle of the box or
    of the robot's reach."""
    thing = scene.bodies[what]
    places = _rim(thing) if "bowl" in what else _along(thing)
    costs = [_blocked(scene, what, place) + preference for place, preference in places]
    return places[int(np.argmin(costs))][0]


def _along(thing: Body) -> list[tuple[Array, float]]:
    """Grasps across a box (fingers along y), shifted along it."""
    size = thing.high - thing.low
    height = thing.low[2] + (
        max(OVER_GROUND, size[2] - DOWN_FROM_TOP) if size[2] > 0.05 else max(0.010, 0.4 * size[2])
    )
    room = max(size[0] / 2 - 0.012, 0.0)
    return [
        (np.array([thing.centre[0] + shift, thing.centre[1], height]), abs(shift))
        for shift in (0.0, -0.01, 0.01, -0.015, 0.015, -0.02, 0.02, -0.028, 0.028)
        if abs(shift) <= room
    ]


def _rim(thing: Body) -> list[tuple[Array, float]]:
    """The two ends of the rim along y."""
    radius = (thing.high[1] - thing.low[1]) / 2 - RIM_INSET
    places = []
    for side in (-1.0, 1.0):
        place = thing.centre + np.array([0.0, side * radius, 0.0])
        near = np.hypot(*(thing.points[:, :2] - place[:2]).T) < 0.02
        place[2] = (thing.points[near, 2].max() if near.any() else thing.high[2]) - RIM_DEPTH
        places.append((place, 0.1 * abs(place[1])))
    return places


def _blocked(scene: Scene, what: str, place: Array) -> int:
    """How many other bodies the opened hand would meet at ``place``."""
    return sum(body.meets_hand(place) for name, body in scene.bodies.items() if name != what)


def _inside(points: Array, box: tuple[Array, Array]) -> bool:
    return bool(((points > box[0]) & (points < box[1])).all(axis=1).any())


def _carry(scene: Scene, what: str, where: str) -> Array:
    thing, place = scene.bodies[what], scene.bodies[where]
    error = place.centre[:2] - thing.centre[:2]
    side = float(np.hypot(*error))
    inside = "basket" in where
    # Into a basket it may fall; onto a plate it is set down.
    rest = place.high[2] - 0.03 if inside else place.low[2]
    slack = 0.03 if inside else 0.012
    if side < slack and thing.low[2] < rest + 0.03:
        return _command(np.array([*error, 0.0]), OPEN)
    rise = (place.high[2] + CLEARANCE if inside else scene.ground + 0.10) - rest
    height = rest + float(np.clip(FUNNEL * (side - slack / 2), 0.0, rise))
    if side > NEAR_PLACE:
        height = max(height, _top_below(scene, what, where) + CLEARANCE)
    return _command(_sink(error, height - thing.low[2]), CLOSE)


def _top_below(scene: Scene, what: str, where: str, margin: float = 0.03) -> float:
    """Height of what ``what`` is over, or beside by less than ``margin``, but for ``where``."""
    thing = scene.bodies[what]
    tops = [
        body.high[2] for name, body in scene.bodies.items()
        if name not in (what, where) and body.high[2] < thing.low[2] + 0.01
        and (body.low[:2] < thing.high[:2] + margin).all()
        and (body.high[:2] > thing.low[:2] - margin).all()
    ]
    return float(max(tops, default=-np.inf))


def _sink(sideways: Array, up: float) -> Array:
    """Sideways (2,) as far as the height allows: not at all while much too low."""
    share = float(np.clip(1.5 - up / 0.04, 0.0, 1.0))
    return np.array([*(sideways * share), up])


def _command(move: Array, gripper: float) -> Array:
    return np.array([*np.clip(move / REACH, -1.0, 1.0), 0.0, 0.0, 0.0, gripper])
