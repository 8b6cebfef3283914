# SPDX-License-Identifier: Apache-2.0
"""Definitions of message and service types, by full name such as ``std_msgs/msg/Header``.

Standard messages come from the type store of rosbags, what it lacks from :mod:`.definitions`, and
our own messages and actions from the ``msg/`` and ``action/`` folders of this package.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from .definitions import ACTIONS, MESSAGES, SERVICES
from .share import PACKAGE, share_directory

SCALAR, ARRAY, SEQUENCE = "scalar", "array", "sequence"
EMPTY_MEMBER = "structure_needs_at_least_one_member"

# The type store keeps no default values; among the standard messages only this one has any.
_KNOWN_DEFAULTS: dict[str, dict[str, Any]] = {"geometry_msgs/msg/Quaternion": {"w": 1.0}}


class TypeNotFoundError(ImportError):
    """A message or service type has no definition here."""


@dataclass(frozen=True)
class FieldType:
    """Type of one field: ``base`` is a primitive name or the full name of a message.

    ``size`` is the length of an array or the bound of a sequence (0: unbounded).
    """

    base: str
    kind: str = SCALAR
    size: int = 0
    string_bound: int = 0

    @property
    def is_message(self) -> bool:
        """Whether the element type is another message."""
        return "/" in self.base


@dataclass(frozen=True)
class TypeSpec:
    """One message type, or one half of a service."""

    name: str
    fields: tuple[tuple[str, FieldType], ...]
    constants: tuple[tuple[str, str, Any], ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def dds_name(self) -> str:
        """Name on the wire, such as ``std_msgs::msg::dds_::Header_``."""
        package, kind, name = self.name.split("/")
        return f"{package}::{kind}::dds_::{name}_"


class TypeRegistry:
    """Lazily built :class:`TypeSpec` objects over one rosbags type store."""

    def __init__(self) -> None:
        """Load the standard types, our services and our messages."""
        self.store = get_typestore(Stores.ROS2_JAZZY)
        self._defaults: dict[str, dict[str, Any]] = dict(_KNOWN_DEFAULTS)
        for name, text in MESSAGES.items():
            self._add_text(name, text)
        for name, (request, response) in SERVICES.items():
            self._add_text(f"{name}_Request", request)
            self._add_text(f"{name}_Response", response)
        for path in sorted((share_directory() / "msg").glob("*.msg")):
            self._add_text(f"{PACKAGE}/msg/{path.stem}", path.read_text(encoding="utf-8"))

        for name, parts in ACTIONS.items():
            self._add_action(name, *parts)
        for path in sorted((share_directory() / "action").glob("*.action")):
            sections = re.split(r"(?m)^---\s*$", path.read_text(encoding="utf-8"))
            if len(sections) != 3:
                raise ValueError(
                    f"{path} has {len(sections)} sections; an action has a goal, a result "
                    "and feedback, separated by two lines of ---."
                )
            self._add_action(f"{PACKAGE}/action/{path.stem}", *sections)

    def _add_action(self, name: str, goal: str, result: str, feedback: str) -> None:
        """Add the three types of an action, and those that carry them over services and topics."""
        for part, text in (("Goal", goal), ("Result", result), ("Feedback", feedback)):
            self._add_text(f"{name}_{part}", text)

        def plain(base: str) -> Any:
            return (Nodetype.BASE, (base, 0))

        def message(base: str) -> Any:
            return (Nodetype.NAME, base)

        goal_id = ("goal_id", message("unique_identifier_msgs/msg/UUID"))
        stamp = ("stamp", message("builtin_interfaces/msg/Time"))
        self.store.register(
            {
                f"{name}_SendGoal_Request": ([], [goal_id, ("goal", message(f"{name}_Goal"))]),
                f"{name}_SendGoal_Response": ([], [("accepted", plain("bool")), stamp]),
                f"{name}_GetResult_Request": ([], [goal_id]),
                f"{name}_GetResult_Response": (
                    [],
                    [("status", plain("int8")), ("result", message(f"{name}_Result"))],
                ),
                f"{name}_FeedbackMessage": (
                    [],
                    [goal_id, ("feedback", message(f"{name}_Feedback"))],
                ),
            }
        )

    def _add_text(self, name: str, text: str) -> None:
        package, kind, short = name.split("/")
        # The parser of rosbags knows only msg and action folders: parse under msg, then rename.
        parsed = get_types_from_msg(text, f"{package}/msg/{short}")
        if kind != "msg":
            parsed = {name: parsed[f"{package}/msg/{short}"]}
        self.store.register(parsed)
        self._defaults[name] = _parse_defaults(text)

    def names(self, package: str, kind: str) -> list[str]:
        """Short names of the types of a package; ``kind`` is ``msg``, ``srv`` or ``action``."""
        prefix = f"{package}/{kind}/"
        found = [
            name.removeprefix(prefix) for name in self.store.fielddefs if name.startswith(prefix)
        ]
        if kind == "srv":
            found = [name.removesuffix("_Request") for name in found if name.endswith("_Request")]
        if kind == "action":
            found = [name.removesuffix("_Goal") for name in found if name.endswith("_Goal")]
        return sorted(found)

    def packages(self) -> set[str]:
        """Every package that has at least one type."""
        return {name.split("/")[0] for name in self.store.fielddefs}

    @functools.cache  # noqa: B019 - one registry per process
    def spec(self, name: str) -> TypeSpec:
        """Return the definition of ``name``, or raise :class:`TypeNotFoundError`."""
        if name not in self.store.fielddefs:
            raise TypeNotFoundError(
                f"Message type {name!r} has no definition. Known packages: "
                f"{', '.join(sorted(self.packages()))}"
            )
        constants, fields = self.store.fielddefs[name]
        return TypeSpec(
            name,
            tuple((label, _field_type(desc)) for label, desc in fields if label != EMPTY_MEMBER),
            tuple(constants),
            self._defaults.get(name, {}),
        )

    @functools.cache  # noqa: B019 - one registry per process
    def type_hash(self, name: str) -> str:
        """RIHS01 hash that ROS 2 (Iron and later) publishes with each endpoint."""
        return self.store.hash_rihs01(name)


def _field_type(desc: Any) -> FieldType:
    node, rest = desc
    if node == Nodetype.BASE:
        return FieldType(rest[0], string_bound=rest[1] if rest[0] == "string" else 0)
    if node == Nodetype.NAME:
        return FieldType(rest)
    inner = _field_type(rest[0])
    kind = ARRAY if node == Nodetype.ARRAY else SEQUENCE
    return FieldType(inner.base, kind, rest[1], inner.string_bound)


_DEFAULT = re.compile(r"^\s*(?P<type>[\w/\[\]<>=]+)\s+(?P<name>[a-z]\w*)\s+(?P<value>[^=\s].*)$")


def _parse_defaults(text: str) -> dict[str, Any]:
    """Default values of a .msg text: ``float64 w 1`` gives ``{"w": 1.0}``."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        match = _DEFAULT.match(line.split("#", 1)[0].rstrip())
        if match is None:
            continue
        base = match["type"]
        value = match["value"].strip()
        if "[" in base:
            items = value.strip("[]").split(",")
            element = base.split("[", 1)[0]
            found[match["name"]] = [_parse_value(element, item.strip()) for item in items if item]
        else:
            found[match["name"]] = _parse_value(base, value)
    return found


def _parse_value(base: str, text: str) -> Any:
    if base.startswith("string"):
        return text.strip("\"'")
    if base == "bool":
        return text.lower() in ("true", "1")
    if base.startswith("float"):
        return float(text)
    if base == "byte":
        return bytes([int(text, 0)])
    return int(text, 0)


@functools.cache
def registry() -> TypeRegistry:
    """Return the registry of this process, built on first use."""
    return TypeRegistry()
