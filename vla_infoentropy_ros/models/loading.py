# SPDX-License-Identifier: Apache-2.0
"""One call for every policy that the package can run."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch

from vla_infoentropy_ros.engine.requirements import warn_if_untested
from vla_infoentropy_ros.models.adapter import (
    Action,
    PolicyAdapter,
    PolicyError,
    PromptTokens,
    VisionInput,
)
from vla_infoentropy_ros.models.environment import TORCH_DTYPES, parse_device
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.source import Source, existing_folder, is_embedded, locate
from vla_infoentropy_ros.plugins import imported, made

EMBEDDED = "embedded"
_FACTORY = re.compile(r"([^\W\d][\w.]*:[^\W\d]\w*)(?::(.*))?", re.DOTALL)
_GIVES = {"preprocess": VisionInput, "tokenize": PromptTokens, "embed_vision": torch.Tensor,
          "decode_action": Action}
_SHIPPED = Path(__file__).parent / "embedded"
SHIPPED = {
    "embedded_flow": _SHIPPED / "flow" / "whole",
    "embedded_flow_images": _SHIPPED / "flow" / "images",
    "embedded_libero": _SHIPPED / "libero",
}
"""Policies beside "embedded" that come with the package: two for the tabletop that act by flow, the
recipes of `training.flow`; and one for the simulated kitchen table of LIBERO, of
`training.libero`."""


def _openvla(source: Source, options: LoadOptions, progress: bool) -> PolicyAdapter:
    from vla_infoentropy_ros.models.openvla.policy import load_source

    return load_source(source, options, progress=progress)


def _smolvla(source: Source, options: LoadOptions, progress: bool) -> PolicyAdapter:
    from vla_infoentropy_ros.models.smolvla.policy import load_source

    return load_source(source, options, progress=progress)


def _pi0(source: Source, options: LoadOptions, progress: bool) -> PolicyAdapter:
    from vla_infoentropy_ros.models.pi0.policy import load_source

    return load_source(source, options, progress=progress)


# By the name of a family that runs; each imports its network only when it is asked for.
LOADERS: dict[str, Callable[[Source, LoadOptions, bool], PolicyAdapter]] = {
    "OpenVLA": _openvla, "SmolVLA": _smolvla, "pi0": _pi0,
}


def load_policy(
    model: str = EMBEDDED, options: LoadOptions | None = None, *, progress: bool = True
) -> PolicyAdapter:
    """Load a policy, ready to act, or raise PolicyError before anything moves.

    model: "embedded", the tabletop policy that comes with the package; one of `SHIPPED`; a
    folder of another embedded policy; a checkpoint folder of a family in `families`; a hub id
    (owner/name) of one, with a revision; or "module:function", a function ``(text, options)`` that
    gives a `PolicyAdapter`, where text is what "module:function:text" has behind it.
    """
    options = options or LoadOptions()
    warn_if_untested()
    if not model:
        raise PolicyError("model is empty: name 'embedded', a checkpoint folder or a hub id")
    # No Path: it raises over a text that is longer than a file's name may be.
    if (own := _FACTORY.fullmatch(model)) and not os.path.exists(model):
        return _own(own[1], own[2] or "", model, options)
    folder = None if model == EMBEDDED else SHIPPED.get(model) or existing_folder(model)
    if model != EMBEDDED and not (folder and is_embedded(folder)):
        source = locate(model, options.revision, (EMBEDDED, *SHIPPED))
        return LOADERS[source.family.name](source, options, progress)
    return _embedded(folder, options)


def _own(path: str, text: str, model: str, options: LoadOptions) -> PolicyAdapter:
    """What a function of another package loads."""
    told = f"model={model!r}"
    load = imported(path, told)
    policy: PolicyAdapter = made(
        load, told, "text, options", PolicyAdapter, _GIVES, text, options
    )
    return policy


def load_asked(arguments: argparse.Namespace) -> PolicyAdapter:
    """The policy that the flags of `add_load_arguments` name; raises as `load_policy` does."""
    options = LoadOptions.from_arguments(arguments)
    return load_policy(arguments.model, options, progress=sys.stderr.isatty())


def _embedded(folder: Path | None, options: LoadOptions) -> PolicyAdapter:
    """The shipped policy, or that of a folder."""
    device = parse_device(options.device)
    from vla_infoentropy_ros.models.embedded.config import FILE, PolicyConfig
    from vla_infoentropy_ros.models.embedded.flow_policy import EmbeddedFlowPolicy
    from vla_infoentropy_ros.models.embedded.policy import EmbeddedPolicy

    flows = folder is not None and PolicyConfig.read(folder / FILE).flow is not None
    kind = EmbeddedFlowPolicy if flows else EmbeddedPolicy
    policy = kind.load(folder, options.revision)
    _insist(options, LoadOptions(
        device=options.device, dtype=options.dtype, unnorm_key=policy.norm_key,
        revision=options.revision, gripper=policy.convention.gripper,
        rotation=policy.convention.rotation, trained_rotation=policy.convention.rotation,
        action_units="si", crop="none", image_rotation="none",
        control_period_s=policy.convention.control_period_s,
    ))
    policy.network.to(device=device, dtype=TORCH_DTYPES[options.dtype])
    return policy


def _insist(options: LoadOptions, own: LoadOptions) -> None:
    """Refuse an embedded policy where it is asked to be something else."""
    for entry in fields(options):
        given, only = getattr(options, entry.name), getattr(own, entry.name)
        if given not in (entry.default, only):
            raise PolicyError(
                f"{entry.name}={given!r}: the embedded policy has only {only!r}; leave it at "
                f"{entry.default!r}"
            )
