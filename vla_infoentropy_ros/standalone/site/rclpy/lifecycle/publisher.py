# SPDX-License-Identifier: Apache-2.0
"""Publishers that are silent unless their node is active."""

from __future__ import annotations

from typing import Any

from ..publisher import Publisher
from .managed_entity import SimpleManagedEntity


class LifecyclePublisher(SimpleManagedEntity, Publisher):
    """Publishes only while the node is active."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Start silent."""
        SimpleManagedEntity.__init__(self)
        Publisher.__init__(self, *args, **kwargs)

    def publish(self, msg: Any) -> None:
        """Send a message, or drop it while the node is not active."""
        if self._enabled:
            Publisher.publish(self, msg)
