# SPDX-License-Identifier: Apache-2.0
"""Settings that change while they are in force: together, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vla_infoentropy_ros.driving.settings import PolicyNodeSettings, parameter_specs
from vla_infoentropy_ros.knobs import SettingError


class LiveSettings:
    """``settings`` are in force; ``asked`` are the values that they were made of, in which a
    selector may say how to decode. Used from one thread."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """values: by parameter name. Raises SettingError for what cannot be."""
        self.settings = PolicyNodeSettings.from_values(values)
        self.asked = dict(values)
        self._specs = {spec.name: spec for spec in parameter_specs()}

    def change(
        self, asked: Mapping[str, Any], configured: bool,
        check: Callable[[PolicyNodeSettings], None] = lambda settings: None,
    ) -> set[str]:
        """Take over other values and return the names of what differs now.

        configured: a policy is loaded. check: raises where it cannot be run so. Raises ValueError
        or TypeError where they cannot be, all together, or not now; then nothing has changed.
        """
        values = self.asked | dict(asked)
        settings = PolicyNodeSettings.from_values(values)
        changed = settings.differences(self.settings)
        self._check(changed, configured)
        check(settings)
        self.settings, self.asked = settings, values
        return changed

    def _check(self, changed: set[str], configured: bool) -> None:
        given = sorted(name for name in changed if self._specs[name].at_start)
        if given:
            raise SettingError(
                f"{given[0]} names code or files and is given at the start only: stop the "
                f"node and start it with {given[0]}:=... (ros2 launch) or -p {given[0]}:=..."
            )
        fixed = sorted(name for name in changed if not self._specs[name].live)
        if fixed and configured:
            raise SettingError(
                f"{fixed[0]} cannot change while the node is configured: deactivate and "
                "clean up first (ros2 lifecycle set <node> deactivate, then cleanup)"
            )
