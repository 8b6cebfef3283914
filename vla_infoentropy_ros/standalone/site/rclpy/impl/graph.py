# SPDX-License-Identifier: Apache-2.0
"""What a node can ask about other nodes, topics and services."""

from __future__ import annotations

from typing import Any

from .participant import Endpoint, ros_type


class NodeGraph:
    """Mixin with the graph queries of :class:`Node`."""

    _participant: Any

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        """(name, namespace) of every node in the domain."""
        return [(name, namespace) for name, namespace, _, _ in self._participant.nodes()]

    def get_node_names(self) -> list[str]:
        """Name of every node in the domain."""
        return [name for name, _ in self.get_node_names_and_namespaces()]

    def count_publishers(self, topic_name: str) -> int:
        """Number of publishers of a topic in the domain; its name is expanded, not remapped."""
        return len(self._endpoints_of(topic_name, writers=True))

    def count_subscribers(self, topic_name: str) -> int:
        """Number of subscriptions of a topic in the domain; its name is not remapped."""
        return len(self._endpoints_of(topic_name, writers=False))

    def _endpoints_of(self, topic_name: str, writers: bool) -> list[Endpoint]:
        name = self.resolve_topic_name(topic_name, only_expand=True)  # type: ignore[attr-defined]
        wire = "rt" + name
        return [item for item in self._participant.endpoints(writers) if item.topic == wire]

    def get_topic_names_and_types(self, no_demangle: bool = False) -> list[tuple[str, list[str]]]:
        """Topics in the domain, with the types that their endpoints use."""
        endpoints = self._participant.endpoints(True) + self._participant.endpoints(False)
        if no_demangle:
            return _grouped([(item.topic, item.type_name) for item in endpoints])
        return _grouped(
            [
                (item.topic[2:], ros_type(item.type_name))
                for item in endpoints
                if item.topic.startswith("rt/")
            ]
        )

    def get_service_names_and_types(self) -> list[tuple[str, list[str]]]:
        """Services in the domain and their types."""
        return _grouped(
            [
                (
                    item.topic[2:].removesuffix("Request"),
                    ros_type(item.type_name).removesuffix("_Request"),
                )
                for item in self._participant.endpoints(writers=False)
                if item.topic.startswith("rq/") and item.topic.endswith("Request")
            ]
        )

    def _of_node(self, name: str, namespace: str, writers: bool) -> list[Endpoint]:
        for found, found_namespace, readers, own_writers in self._participant.nodes():
            if (found, found_namespace) == (name, namespace):
                guids = own_writers if writers else readers
                return [item for item in self._participant.endpoints(writers) if item.guid in guids]
        from ..node import NodeNameNonExistentError

        raise NodeNameNonExistentError(
            f"Cannot get information of node '{namespace.rstrip('/')}/{name}': it does not exist."
        )

    def get_publisher_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> list[tuple[str, list[str]]]:
        """Topics that a node publishes."""
        return _grouped(
            [
                (item.topic[2:], ros_type(item.type_name))
                for item in self._of_node(node_name, node_namespace, True)
                if item.topic.startswith("rt/")
            ]
        )

    def get_subscriber_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> list[tuple[str, list[str]]]:
        """Topics that a node subscribes to."""
        return _grouped(
            [
                (item.topic[2:], ros_type(item.type_name))
                for item in self._of_node(node_name, node_namespace, False)
                if item.topic.startswith("rt/")
            ]
        )

    def get_service_names_and_types_by_node(
        self, node_name: str, node_namespace: str
    ) -> list[tuple[str, list[str]]]:
        """Services that a node offers."""
        return _grouped(
            [
                (
                    item.topic[2:].removesuffix("Request"),
                    ros_type(item.type_name).removesuffix("_Request"),
                )
                for item in self._of_node(node_name, node_namespace, False)
                if item.topic.startswith("rq/")
            ]
        )


def _grouped(pairs: list[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    types: dict[str, set[str]] = {}
    for name, kind in pairs:
        types.setdefault(name, set()).add(kind)
    return [(name, sorted(kinds)) for name, kinds in sorted(types.items())]
