# SPDX-License-Identifier: Apache-2.0
"""Things other than messages, timers and services that an executor can run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .callback_groups import CallbackGroup


class Waitable:
    """Base: something with conditions to wait on, that takes data and runs."""

    def __init__(self, callback_group: CallbackGroup) -> None:
        """Keep the group."""
        self.callback_group = callback_group

    def conditions(self) -> list[Any]:
        """What a wait set attaches."""
        return []

    def is_ready(self) -> bool:
        """Whether :meth:`take` has something."""
        return False

    def take(self) -> Any:
        """Take data for :meth:`execute`; None when there is none."""
        return None

    def execute(self, taken: Any) -> Any:
        """Run; may return a coroutine."""
        return None

    def take_callback(self, executor: Any) -> Callable[[], Any] | None:
        """Take data and return a function that runs."""
        taken = self.take()
        return None if taken is None else lambda: self.execute(taken)
