# SPDX-License-Identifier: Apache-2.0
"""SROS2 policies with the least rights, one for each launch file, from one table of names.

``python -m vla_infoentropy_ros.nodes.security_policies`` renews ``config/sros2/``;
``... security_policies servo image:=/wrist/image_raw`` prints the one for other launch arguments.
The table is tested against what the running nodes create.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.parameter_files import ParameterFile
from vla_infoentropy_ros.driving.parameter_specs import typed
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings, parameter_specs
from vla_infoentropy_ros.foreign.text import UserError, shown
from vla_infoentropy_ros.launch_runner.description import Description, Process
from vla_infoentropy_ros.launch_runner.description import ParameterFile as NamedFile
from vla_infoentropy_ros.nodes.start_arguments import StartArguments
from vla_infoentropy_ros.share import share_directory

_PARAMETERS = (
    "describe_parameters", "get_parameter_types", "get_parameters", "list_parameters",
    "set_parameters", "set_parameters_atomically", "get_type_description",
)  # fmt: skip
_LIFECYCLE = (
    "change_state", "get_state", "get_available_states", "get_available_transitions",
    "get_transition_graph",
)  # fmt: skip
_SWITCHES = ("enable", "clear_fault", "reset")
_TELLING = ("status", "selection", "overlay", "transition_event")


def _own(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"~/{name}" for name in names)


@dataclass(frozen=True)
class Rights:
    """Names as a node writes them: relative, absolute or below ``~``.

    publish, subscribe: topics. reply, request: services. execute, call: actions.
    """

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    reply: tuple[str, ...] = ()
    request: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    call: tuple[str, ...] = ()


POLICY_NODE = Rights(
    publish=("/rosout", "/parameter_events", "/diagnostics", "action", *_own(_TELLING)),
    subscribe=(
        "/clock", "image", "image/compressed", "wrist_image", "wrist_image/compressed",
        "third_image", "third_image/compressed",
        "instruction", "ee_pose", "joint_states", "robot_description",
    ),
    reply=_own((*_SWITCHES, *_LIFECYCLE, *_PARAMETERS)),
    execute=("~/execute_instruction",),
)  # fmt: skip
COMMANDS = {"twist": "twist_command", "pose": "pose_command", "trajectory": "joint_trajectory"}
"""What the policy node commands an arm by, by ``command.output``."""
GRIPPER = "gripper_command"
"""And a hand, where ``command.gripper_action`` is empty."""

SIM_NODE = Rights(
    publish=(
        "/rosout", "/parameter_events", "/clock", "image", "ee_pose", "instruction", "episode",
    ),
    subscribe=("action", "twist_command", "gripper_command", "policy_node/status"),
    reply=_own(("start_episode", "stop_episode", *_PARAMETERS)),
    request=("policy_node/enable", "policy_node/reset"),
)  # fmt: skip

GANTRY_NODE = Rights(
    publish=(
        "/rosout", "/parameter_events", "ee_pose",
        *(f"gantry/{part}" for part in ("x", "y", "z", "yaw", "fingers")),
    ),
    subscribe=("/clock", "twist_command", "gripper_command", "joint_states"),
    reply=_own(_PARAMETERS),
)  # fmt: skip

OPERATOR = Rights(
    publish=("/rosout", "/parameter_events", "instruction"),
    subscribe=(
        "/rosout", "/diagnostics", "/clock", "action",
        *(f"policy_node/{name}" for name in _TELLING),
    ),
    request=tuple(f"policy_node/{name}" for name in (*_SWITCHES, *_LIFECYCLE, *_PARAMETERS)),
    call=("policy_node/execute_instruction",),
)  # fmt: skip
"""The one enclave that may let the arm move; keep its key from everybody else."""


@dataclass(frozen=True)
class Launched:
    """What one launch file starts. robot: nodes of ours that are one. commands: false where the
    policy node stays in a dry run for ever."""

    robot: Mapping[str, Rights] = field(default_factory=dict)
    commands: bool = True

    def nodes(self, command: CommandSettings) -> dict[str, Rights]:
        """By name, the operator's tools among them; command: of the policy node."""
        policy = commanding(command) if self.commands else POLICY_NODE
        return {"policy_node": policy, "operator": OPERATOR, **self.robot}


def commanding(settings: CommandSettings) -> Rights:
    """Of the policy node, out of its dry run."""
    publish, subscribe = [COMMANDS[settings.output]], []
    if not settings.gripper_action:
        publish.append(GRIPPER)
    if settings.pose_source == "tf":
        subscribe += ["/tf", "/tf_static"]
    if settings.asks_servo:
        subscribe.append(f"{settings.servo}/status")
    asked = ("get_parameters", "switch_command_type") * settings.asks_servo
    return replace(
        POLICY_NODE,
        publish=(*POLICY_NODE.publish, *publish),
        subscribe=(*POLICY_NODE.subscribe, *subscribe),
        request=tuple(f"{settings.servo}/{name}" for name in asked),
        call=tuple(filter(None, [settings.gripper_action])),
    )


LAUNCHES = {
    "vla": Launched(),
    "servo": Launched(),
    "bag": Launched(commands=False),
    "gazebo": Launched({"gantry_node": GANTRY_NODE}),
    "sim": Launched({"sim_node": SIM_NODE}),
}


def policy_xml(launch: str, arguments: Mapping[str, str] | None = None) -> str:
    """The policy for ``launch``.launch.xml with its own defaults, or with other arguments; by these
    and by the parameter files that they name.

    Raises UserError for a launch file, an argument or a file that is not there, or cannot be.
    """
    if launch not in LAUNCHES:
        raise UserError(f"{shown(launch)} is not among {', '.join(LAUNCHES)}")
    started = _policy_node(launch, arguments or {})
    namespace, remaps = started.namespace or "/", dict(started.remaps)
    root = ElementTree.Element("policy", version="0.2.0")
    enclaves = ElementTree.SubElement(root, "enclaves")
    for node, rights in LAUNCHES[launch].nodes(_command(started)).items():
        enclave = ElementTree.SubElement(enclaves, "enclave", path=f"/{node}")
        profiles = ElementTree.SubElement(enclave, "profiles")
        profile = ElementTree.SubElement(profiles, "profile", ns=namespace, node=node)
        moved = remaps if node not in LAUNCHES[launch].robot else {}
        for group, element, permission in (
            ("topics", "topic", "publish"), ("topics", "topic", "subscribe"),
            ("services", "service", "reply"), ("services", "service", "request"),
            ("actions", "action", "execute"), ("actions", "action", "call"),
        ):  # fmt: skip
            names = sorted(expanded(name, namespace, node, moved)
                           for name in getattr(rights, permission))
            if names:
                block = ElementTree.SubElement(profile, group, {permission: "ALLOW"})
                for name in names:
                    ElementTree.SubElement(block, element).text = name
    ElementTree.indent(root)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!-- SPDX-License-Identifier: Apache-2.0 -->\n'
        f"<!-- For launch/{launch}.launch.xml. Generated by:\n"
        "     python -m vla_infoentropy_ros.nodes.security_policies -->\n"
        + ElementTree.tostring(root, encoding="unicode") + "\n"
    )


def expanded(name: str, namespace: str, node: str, remaps: Mapping[str, str]) -> str:
    """The full name, as it is on the wire."""
    place = namespace.rstrip("/")
    name = remaps.get(name, name)
    if name.startswith("~/"):
        return f"{place}/{node}/{name[2:]}"
    return name if name.startswith("/") else f"{place}/{name}"


def _policy_node(launch: str, given: Mapping[str, str]) -> Process:
    """As the launch file starts it with these arguments."""
    path = share_directory() / "launch" / f"{launch}.launch.xml"
    arguments = Description(path, given, only_arguments=True).arguments.values()
    needed = {each.name: each.name for each in arguments if each.default is None}  # no right's
    return next(each for each in Description(path, needed | dict(given)).processes
                if each.name == "policy_node")


def _command(node: Process) -> CommandSettings:
    """The settings by which it commands, as its files and arguments say."""
    values: dict[str, Any] = {}
    for each in node.parameters:
        if isinstance(each, NamedFile):
            values |= ParameterFile.read(each.path).values(f"{node.namespace}/{node.name}")
    specs = {spec.name: spec.default for spec in parameter_specs("command")}
    given = StartArguments.parse(node.arguments).given
    values |= {name: typed(name, text, specs[name])
               for name, text in given.items() if name in specs}
    return PolicyNodeSettings.from_values(
        {name: value for name, value in values.items() if name in specs}).command


def _argument(text: str) -> tuple[str, str]:
    name, given, value = text.partition(":=")
    if not given:
        raise UserError(f"{shown(text)} is no launch argument: write NAME:=VALUE")
    return name, value


def main(arguments: Sequence[str]) -> int:
    """Renew all files, or print one."""
    if not arguments:
        folder = share_directory() / "config" / "sros2"
        for launch in LAUNCHES:
            (folder / f"{launch}.policy.xml").write_text(policy_xml(launch), encoding="utf-8")
        return 0
    try:
        print(policy_xml(arguments[0], dict(_argument(each) for each in arguments[1:])), end="")
    except (UserError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
