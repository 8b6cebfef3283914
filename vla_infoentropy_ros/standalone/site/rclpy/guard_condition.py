# SPDX-License-Identifier: Apache-2.0
"""A condition that the program triggers itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vla_infoentropy_ros.standalone import dds

from .callback_groups import CallbackGroup
from .context import Context
from .utilities import get_default_context


class GuardCondition:
    """Wakes an executor, which then runs the callback."""

    def __init__(
        self,
        callback: Callable[..., Any] | None,
        callback_group: CallbackGroup | None,
        context: Context | None = None,
    ) -> None:
        """Create the condition, not triggered."""
        self._context = get_default_context() if context is None else context
        self._condition = self._context.participant.create_guard()
        self.callback = callback
        self.callback_group = callback_group
        self._alive = True

    @property
    def condition(self) -> Any:
        """What a wait set attaches."""
        return self._condition

    def trigger(self) -> None:
        """Wake whoever waits."""
        if self._alive:
            self._condition.set(True)

    def is_ready(self) -> bool:
        """Whether it was triggered and not taken yet."""
        return self._alive and bool(self._condition.read())

    def take(self) -> bool:
        """Clear the condition; return whether it was set."""
        if not self.is_ready():
            return False
        self._condition.set(False)
        return True

    def take_callback(self, executor: Any) -> Callable[[], Any] | None:
        """Clear the condition and return what to run."""
        return self.callback if self.take() else None

    def destroy(self) -> None:
        """Delete the condition."""
        self._alive = False
        dds.close(self._condition)
