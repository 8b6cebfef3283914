# SPDX-License-Identifier: Apache-2.0
"""Which of the pictures that are sent a policy is shown, and in which order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.models.lerobot.features import short_name
from vla_infoentropy_ros.serve.service import RequestError

WRIST = "wrist"


def shown_to(policy: PolicyAdapter, names: Sequence[str]) -> list[str]:
    """Of the pictures ``names``, in the order of the policy's views: those of its own cameras'
    names where all are there, else a wrist's behind the others.

    Raises RequestError where it was trained with them in another order.
    """
    ordered = sorted(names, key=lambda name: WRIST in name)
    return own_or(policy, names, ordered[: policy.views])


def own_or(policy: PolicyAdapter, names: Collection[str], taken: Sequence[str]) -> list[str]:
    """The names of the policy's own cameras where all are among ``names``, else ``taken``, which
    are of another's. Raises RequestError where a wrist's picture would be shown as another's."""
    cameras = [short_name(name) for name in getattr(policy, "camera_names", ())]
    if cameras and set(cameras) <= set(names):
        return cameras
    if any(WRIST in camera for camera in cameras) and any(
            (WRIST in camera) != (WRIST in name)
            for camera, name in zip(cameras, taken, strict=False)):  # how many, the policy judges
        raise RequestError(f"pictures named {shown(list(taken))}: this policy was trained with "
                           f"{', '.join(cameras)}; send them under these names")
    return list(taken)
