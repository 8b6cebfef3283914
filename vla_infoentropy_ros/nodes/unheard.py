# SPDX-License-Identifier: Apache-2.0
"""Why nothing arrives on an input although somebody publishes there: no middleware says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vla_infoentropy_ros.foreign.text import printable
from vla_infoentropy_ros.nodes.messages import type_name


class Unheard:
    """A sentence by the name of the input, until something arrives there; logged once."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._reasons: dict[str, str] = {}
        self._of_other_type: set[str] = set()

    def reason(self, name: str) -> str:
        """Of this input; "" where none is known."""
        return self._reasons.get(name, "")

    def tell(self, name: str, reason: str) -> None:
        """Nothing arrives from a publisher, for this reason."""
        if self._reasons.get(name) != reason:
            self._reasons[name] = reason
            self._node.get_logger().error(reason)

    def arrived(self, name: str) -> None:
        """Something did."""
        self._reasons.pop(name, None)

    def look(self, subscriptions: Mapping[str, Any]) -> None:
        """See whether all who publish on an input send another type than is taken; to be called
        now and then. subscriptions: by the names of the inputs."""
        for name, subscription in subscriptions.items():
            topic, wanted = subscription.topic_name, type_name(subscription.msg_type)
            ends = self._node.get_publishers_info_by_topic(topic)
            types = {end.topic_type for end in ends}
            if types and wanted not in types:
                self._of_other_type.add(name)
                self.tell(name, f"{topic} is published as {printable(', '.join(sorted(types)))}, "
                                f"and {wanted} is taken: name a topic of that type, or for a "
                                "camera set image_transport to what it sends")
            elif name in self._of_other_type:
                self._of_other_type.discard(name)
                self.arrived(name)
