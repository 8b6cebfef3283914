# SPDX-License-Identifier: Apache-2.0
"""SROS2 policies with the least rights, one for each launch file, from one table of names.

``python -m vla_infoentropy_ros.nodes.security_policies`` renews ``config/sros2/``;
``... security_policies servo image:=/wrist/image_raw`` prints the one for other launch arguments.
The table is tested against what the running nodes create.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vla_infoentropy_ros.foreign.markup import parse_xml
from vla_infoentropy_ros.foreign.text import UserError, shown
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
COMMANDS: dict[str, tuple[str, ...]] = {
    "": (),
    "twist": ("twist_command", "gripper_command"),
    "pose": ("pose_command", "gripper_command"),
    "trajectory": ("joint_trajectory", "gripper_command"),
}
"""What else the policy node publishes, by ``command.output``; "": in a dry run for ever."""

SERVO = Rights(
    subscribe=("/tf", "/tf_static"),
    request=("$(var servo)/get_parameters", "$(var servo)/switch_command_type"),
)
"""What the policy node needs besides before MoveIt Servo, by the name that the argument gives."""

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
    """What one launch file starts. output: of the policy node, a key of `COMMANDS`. robot: nodes
    of ours that are one. servo: the policy node asks MoveIt Servo."""

    output: str
    robot: Mapping[str, Rights] = field(default_factory=dict)
    servo: bool = False

    @property
    def nodes(self) -> dict[str, Rights]:
        """By name, the operator's tools among them."""
        commands = COMMANDS[self.output]
        policy = replace(POLICY_NODE, publish=(*POLICY_NODE.publish, *commands))
        if self.servo:
            policy = replace(
                policy, subscribe=(*policy.subscribe, *SERVO.subscribe), request=SERVO.request
            )
        return {"policy_node": policy, "operator": OPERATOR, **self.robot}


LAUNCHES = {
    "vla": Launched("twist"),
    "servo": Launched("twist", servo=True),
    "bag": Launched(""),
    "gazebo": Launched("twist", {"gantry_node": GANTRY_NODE}),
    "sim": Launched("twist", {"sim_node": SIM_NODE}),
}


def policy_xml(launch: str, arguments: Mapping[str, str] | None = None) -> str:
    """The policy for ``launch``.launch.xml with its own defaults, or with other arguments.

    Raises UserError for a launch file or an argument that is not there.
    """
    if launch not in LAUNCHES:
        raise UserError(f"{shown(launch)} is not among {', '.join(LAUNCHES)}")
    namespace, remaps, filled = _names(launch, arguments or {})
    root = ElementTree.Element("policy", version="0.2.0")
    enclaves = ElementTree.SubElement(root, "enclaves")
    for node, rights in LAUNCHES[launch].nodes.items():
        enclave = ElementTree.SubElement(enclaves, "enclave", path=f"/{node}")
        profiles = ElementTree.SubElement(enclave, "profiles")
        profile = ElementTree.SubElement(profiles, "profile", ns=namespace, node=node)
        moved = remaps if node not in LAUNCHES[launch].robot else {}
        for group, element, permission in (
            ("topics", "topic", "publish"), ("topics", "topic", "subscribe"),
            ("services", "service", "reply"), ("services", "service", "request"),
            ("actions", "action", "execute"), ("actions", "action", "call"),
        ):  # fmt: skip
            names = sorted(expanded(filled(name), namespace, node, moved)
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


def _names(
    launch: str, given: Mapping[str, str]
) -> tuple[str, dict[str, str], Callable[[str], str]]:
    """Namespace and remaps of the policy node, and what puts the arguments into a text."""
    path = share_directory() / "launch" / f"{launch}.launch.xml"
    root = parse_xml(path.read_text(encoding="utf-8"), str(path), "yaml_bytes", UserError)
    values = {arg.get("name", ""): arg.get("default", "") for arg in root.findall("arg")}
    for name in given:
        if name not in values:
            raise UserError(f"{shown(name)} is no argument of {path.name}")
    values |= given

    def filled(text: str) -> str:
        for name, value in reversed(values.items()):  # a default may name arguments before it
            text = text.replace(f"$(var {name})", value)
        return text

    (node,) = (each for each in root.iter("node") if each.get("name") == "policy_node")
    remaps = {filled(remap.get("from", "")): filled(remap.get("to", ""))
              for remap in node.findall("remap")}
    return "/" + filled(node.get("namespace", "")).strip("/"), remaps, filled


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
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
