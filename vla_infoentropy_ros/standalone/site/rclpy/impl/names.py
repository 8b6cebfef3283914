# SPDX-License-Identifier: Apache-2.0
"""Validation and expansion of node, namespace, topic and service names."""

from __future__ import annotations

import re

from ..exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
)

_NODE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"[A-Za-z_{}][A-Za-z0-9_{}]*")
MAX_LENGTH = 255


def check_node_name(name: str) -> None:
    """Raise InvalidNodeNameException unless the name is allowed."""
    if not name:
        raise InvalidNodeNameException(name, "node name must not be empty", 0)
    bad = re.search(r"[^A-Za-z0-9_]", name)
    if bad:
        raise InvalidNodeNameException(
            name,
            "node name must not contain characters other than alphanumerics or '_'",
            bad.start(),
        )
    if not _NODE.fullmatch(name):
        raise InvalidNodeNameException(name, "node name must not start with a number", 0)
    if len(name) > MAX_LENGTH:
        raise InvalidNodeNameException(name, f"node name must be shorter than {MAX_LENGTH}", 0)


def check_namespace(namespace: str) -> None:
    """Raise InvalidNamespaceException unless the absolute namespace is allowed."""
    if not namespace.startswith("/"):
        raise InvalidNamespaceException(namespace, "namespace must be absolute, with '/'", 0)
    if namespace == "/":
        return
    position = 1
    for token in namespace[1:].split("/"):
        if not _NODE.fullmatch(token):
            raise InvalidNamespaceException(
                namespace,
                "namespace parts must be alphanumerics or '_', not start with a number, "
                "and not be empty",
                position,
            )
        position += len(token) + 1


def full_namespace(namespace: str | None) -> str:
    """Accept '' and relative namespaces as ROS does, and validate."""
    result = namespace or "/"
    if not result.startswith("/"):
        result = "/" + result
    check_namespace(result)
    return result


def join(namespace: str, name: str) -> str:
    """Put an absolute namespace in front of a relative name."""
    return f"{namespace.rstrip('/')}/{name}"


def expand(name: str, node_name: str, namespace: str, *, is_service: bool = False) -> str:
    """Return the absolute form of a topic or service name; no remapping yet."""
    error = InvalidServiceNameException if is_service else InvalidTopicNameException
    kind = "service" if is_service else "topic"
    if not isinstance(name, str):
        raise TypeError(f"A {kind} name must be a str, not {type(name).__name__}.")
    if not name:
        raise error(name, f"{kind} name must not be empty string", 0)
    if name.endswith("/"):
        raise error(name, f"{kind} name must not end with a forward slash", len(name) - 1)
    if "~" in name[1:]:
        raise error(name, "tilde (~) must be first", name.rfind("~"))
    for token in name.lstrip("~").removeprefix("/").split("/") if name != "~" else ():
        if not _TOKEN.fullmatch(token):
            where = re.search(r"[^A-Za-z0-9_/{}~]", name)
            raise error(
                name,
                f"{kind} name parts must be alphanumerics or '_', not start with a number, "
                "and not be empty",
                where.start() if where else max(name.find(token), 0),
            )
    for key, value in {"node": node_name, "ns": namespace, "namespace": namespace}.items():
        name = name.replace("{" + key + "}", value)
    if "{" in name or "}" in name:
        raise error(name, "unknown substitution; known are {node} and {ns}", name.find("{"))
    if name.startswith("~"):
        name = join(namespace, node_name) + name[1:]
    elif not name.startswith("/"):
        name = join(namespace, name)
    return re.sub(r"/{2,}", "/", name)
