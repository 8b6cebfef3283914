# SPDX-License-Identifier: Apache-2.0
"""Surface points of a MuJoCo body, from the shapes that collide."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CIRCLE = np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
CORNERS = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], float)


def surface_points(sim: Any, body: int) -> tuple[int, NDArray[np.float64]]:
    """``body`` and the points (N, 3), in its frame, of all that is rigidly or otherwise below it.

    Where joints lie between (drawers), the points are where they were at this call.
    """
    import mujoco

    model, data = sim.model._model, sim.data._data
    below = {body}
    for index in range(body + 1, model.nbody):
        if model.body_parentid[index] in below:
            below.add(index)
    parts = [np.zeros((0, 3))]
    for geom in range(model.ngeom):
        collides = model.geom_contype[geom] or model.geom_conaffinity[geom]
        if model.geom_bodyid[geom] not in below or not collides:
            continue
        size, kind = model.geom_size[geom], model.geom_type[geom]
        if kind == mujoco.mjtGeom.mjGEOM_MESH:
            mesh = model.geom_dataid[geom]
            first = model.mesh_vertadr[mesh]
            local = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
        elif kind in (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE):
            ring = np.stack([np.cos(CIRCLE) * size[0], np.sin(CIRCLE) * size[0]], axis=1)
            local = np.concatenate([
                np.column_stack([ring, np.full(len(ring), end * size[1])]) for end in (-1, 1)
            ])
        elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
            local = np.concatenate([np.eye(3), -np.eye(3)]) * size[0]
        else:
            local = CORNERS * size
        turn = data.geom_xmat[geom].reshape(3, 3)
        parts.append(local @ turn.T + data.geom_xpos[geom])
    world = np.concatenate(parts)
    local = (world - data.xpos[body]) @ data.xmat[body].reshape(3, 3)
    return body, _thinned(local)


def _thinned(points: NDArray[np.float64], cell: float = 0.004) -> NDArray[np.float64]:
    """One point per cell of ``cell`` metres."""
    if not len(points):
        return points
    _, first = np.unique(np.floor(points / cell), axis=0, return_index=True)
    return points[np.sort(first)]
