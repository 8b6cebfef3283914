# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node on a command line: under the names that files and the graph know them by.

``--params-file`` takes the files of the node. What they say are the defaults of the flags; a flag
wins over them, and ``--set NAME=VALUE`` over all.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from vla_infoentropy_ros.driving.parameter_files import FILE_FLAG, NODE, ParameterFile
from vla_infoentropy_ros.driving.parameter_specs import typed, unknown_parameter
from vla_infoentropy_ros.driving.settings import DECODE, PolicyNodeSettings, parameter_specs
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.selection import SCHEDULES, selector_names
from vla_infoentropy_ros.variants import RECOMMENDED, Variant

_DOTTED = {"command.base_frame": "base_frame", "state.source": "state_source",
              "state.joints": "state_joints", "state.rotation": "state_rotation"}  # fmt: skip
FLAGS: Mapping[str, str] = {
    name: name for name in ("model", "selector", "schedule", "instruction",
                            *(entry.name for entry in fields(LoadOptions)))
} | _DOTTED
"""Parameters that have a flag of their own: its name among what argparse gives."""


def add_selection_arguments(parser: argparse.ArgumentParser) -> None:
    """``--selector``, ``--schedule`` and ``--set``."""
    parser.add_argument("--selector", default=str(RECOMMENDED),
                        help=f"one of {', '.join(selector_names())}, with +window to verify the "
                        "last action instead of decoding (default: %(default)s)")
    parser.add_argument("--schedule", default="linear",
                        help=f"one of {', '.join(SCHEDULES)} (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="any other parameter, by its name in docs/parameters.md, such as "
                        "selection.fresh_tokens=24")


def add_file_argument(parser: argparse.ArgumentParser) -> None:
    """``--params-file``, for a command that is parsed by `parse`."""
    parser.add_argument(FILE_FLAG, action="append", default=[], metavar="FILE",
                        help="a parameter file of the node, such as config/paper_vla_cache.yaml; "
                        "may be repeated, later ones win; flags win over all")


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, with what parameter files say as defaults; ``from_files`` are their values
    by name. Raises UserError for a file that cannot be used."""
    # By the parser itself, which takes the flag in every spelling that it takes later.
    values = _from_files(parser.parse_args(argv).params_file)
    defaults = {flag: values[name] for name, flag in FLAGS.items() if name in values}
    if "selector" in values or DECODE in values:
        settings = PolicyNodeSettings.from_values(
            {name: values[name] for name in ("selector", DECODE) if name in values}
        )
        defaults["selector"] = str(Variant(settings.node.selector, settings.session.decode))
    parser.set_defaults(**defaults)
    options = parser.parse_args(argv)
    options.from_files = values
    return options


def _from_files(paths: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path in paths:
        file = ParameterFile.read(path)
        file.check(NODE)
        own = file.values(NODE)
        try:
            PolicyNodeSettings.from_values(values | own)
        except (ValueError, TypeError) as error:
            raise SettingError(f"{file.shown}: {error}") from error
        values |= own
    return values


def assignments(texts: Sequence[str], *groups: str) -> dict[str, Any]:
    """``name=value`` texts by name; each value takes the type of the parameter's default. groups:
    of the parameters that are taken; all without any. Raises SettingError."""
    specs = {spec.name: spec for spec in parameter_specs(*groups)}
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"--set {text!r}: write it as name=value")
        if name not in specs:
            raise SettingError(f"--set {text}: {unknown_parameter(name, list(specs))}")
        if name in FLAGS or name == DECODE:
            flag = FLAGS.get(name, "selector").replace("_", "-")
            also = ", as NAME+window" if name == DECODE else ""
            raise SettingError(f"--set {text}: it has a flag, --{flag}{also}")
        values[name] = typed(name, value, specs[name].default)
    return values


def settings_of(options: argparse.Namespace) -> PolicyNodeSettings:
    """Everything but how the policy is loaded, of a command that `parse` has read."""
    values = {name: value for name, value in options.from_files.items()
              if name not in FLAGS and name != DECODE}
    values |= {name: getattr(options, flag) for name, flag in _DOTTED.items()}
    values |= {"selector": options.selector, "schedule": options.schedule}
    return PolicyNodeSettings.from_values(values | assignments(options.set))
