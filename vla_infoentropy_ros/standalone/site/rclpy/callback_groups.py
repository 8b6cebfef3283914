# SPDX-License-Identifier: Apache-2.0
"""Which callbacks may run at the same time in a multi-threaded executor."""

from __future__ import annotations

import threading
import weakref
from typing import Any


class CallbackGroup:
    """Base of the callback groups."""

    def __init__(self) -> None:
        """Start empty."""
        self.entities: set[weakref.ReferenceType[Any]] = set()

    def add_entity(self, entity: Any) -> None:
        """Add a timer, subscription, service or similar."""
        self.entities.add(weakref.ref(entity))

    def has_entity(self, entity: Any) -> bool:
        """Whether the group holds the entity."""
        return weakref.ref(entity) in self.entities

    def can_execute(self, entity: Any) -> bool:
        """Whether the callback of ``entity`` may start now."""
        raise NotImplementedError

    def beginning_execution(self, entity: Any) -> bool:
        """Claim the right to run; False when it is not available."""
        raise NotImplementedError

    def ending_execution(self, entity: Any) -> None:
        """Give the right back."""
        raise NotImplementedError


class ReentrantCallbackGroup(CallbackGroup):
    """Callbacks run in parallel without limits."""

    def can_execute(self, entity: Any) -> bool:
        """Return True."""
        return True

    def beginning_execution(self, entity: Any) -> bool:
        """Return True."""
        return True

    def ending_execution(self, entity: Any) -> None:
        """Do nothing."""


class MutuallyExclusiveCallbackGroup(CallbackGroup):
    """At most one callback of the group runs at a time."""

    def __init__(self) -> None:
        """Start idle."""
        super().__init__()
        self._active_entity: Any = None
        self._lock = threading.Lock()

    def can_execute(self, entity: Any) -> bool:
        """Whether nothing of the group runs."""
        with self._lock:
            return self._active_entity is None

    def beginning_execution(self, entity: Any) -> bool:
        """Claim the group."""
        with self._lock:
            if self._active_entity is not None:
                return False
            self._active_entity = entity
            return True

    def ending_execution(self, entity: Any) -> None:
        """Free the group."""
        with self._lock:
            if self._active_entity is not entity:
                raise RuntimeError(f"{entity} was not running in this callback group.")
            self._active_entity = None
