# SPDX-License-Identifier: Apache-2.0
"""One call for every policy that the package can run."""

from __future__ import annotations

from pathlib import Path

from vla_infoentropy_ros.models.adapter import PolicyAdapter, PolicyError
from vla_infoentropy_ros.models.openvla.environment import (
    check_transformers,
    parse_device,
    parse_dtype,
)

EMBEDDED = "embedded"
EMBEDDED_CONFIG = "policy.json"  # what tells a folder of an embedded policy from a checkpoint


def load_policy(
    model: str = EMBEDDED,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    unnorm_key: str = "",
    revision: str = "",
    gripper: str = "",
    rotation: str = "",
    action_units: str = "",
    crop: str = "",
    image_rotation: str = "",
    control_period_s: float = 0.0,
    progress: bool = True,
) -> PolicyAdapter:
    """Load a policy, ready to act, or raise PolicyError before anything moves.

    model: "embedded", the tabletop policy that comes with the package; a folder of another
    embedded policy; an OpenVLA checkpoint folder; or a hub id (owner/name) with a revision.
    device: cpu, cuda, cuda:N. dtype: float32, bfloat16, float16. unnorm_key: data set whose
    statistics un-normalise actions. gripper, rotation: conventions of the actions handed out.
    The rest describes what an OpenVLA checkpoint was trained with. "" and 0 mean the policy's
    own value.
    """
    check_transformers()
    if not model:
        raise PolicyError("model is empty: name 'embedded', a checkpoint folder or a hub id")
    folder = Path(model).expanduser()
    if model != EMBEDDED and not (folder / EMBEDDED_CONFIG).is_file():
        from vla_infoentropy_ros.models.openvla import load_openvla

        return load_openvla(
            model, device=device, dtype=dtype, unnorm_key=unnorm_key, revision=revision,
            gripper=gripper, rotation=rotation, action_units=action_units, crop=crop,
            image_rotation=image_rotation, control_period_s=control_period_s, progress=progress,
        )

    torch_dtype, torch_device = parse_dtype(dtype), parse_device(device)
    from vla_infoentropy_ros.models.embedded.policy import EmbeddedPolicy

    policy = EmbeddedPolicy.load(None if model == EMBEDDED else folder)
    _insist("unnorm_key", unnorm_key, policy.norm_key)
    _insist("revision", revision, policy.revision)
    _insist("gripper", gripper, policy.convention.gripper)
    _insist("rotation", rotation, policy.convention.rotation)
    _insist("action_units", action_units, "si")
    _insist("crop", crop, "none")
    _insist("image_rotation", image_rotation, "none")
    if control_period_s not in (0.0, policy.convention.control_period_s):
        raise PolicyError(
            f"control_period_s={control_period_s}: the embedded policy was trained with "
            f"{policy.convention.control_period_s} s; leave it at 0"
        )
    policy.network.to(device=torch_device, dtype=torch_dtype)
    return policy


def _insist(name: str, given: str, own: str) -> None:
    if given not in ("", own):
        raise PolicyError(
            f"{name}={given!r}: the embedded policy has only {own!r}; leave {name} empty"
        )
