# SPDX-License-Identifier: Apache-2.0
"""The policy node's parameters: declared together, changed together or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter

from vla_infoentropy_ros.driving.settings import PolicyNodeSettings, parameter_specs
from vla_infoentropy_ros.foreign.text import MESSAGE, printable
from vla_infoentropy_ros.nodes.parameters import declare_specs


def declare(node: Any) -> PolicyNodeSettings:
    """Declare every parameter of the policy node; SettingError explains a user's mistake."""
    return PolicyNodeSettings.from_values(declare_specs(node, parameter_specs()))


class LiveParameters:
    """Validates changes as a whole and hands the new settings on. Used from one thread."""

    def __init__(
        self,
        settings: PolicyNodeSettings,
        configured: Callable[[], bool],
        apply: Callable[[PolicyNodeSettings, set[str]], None],
    ) -> None:
        self.settings = settings
        self._configured, self._apply = configured, apply
        self._specs = {spec.name: spec for spec in parameter_specs()}

    def on_set(self, changes: list[Parameter]) -> SetParametersResult:
        """The callback for rclpy: nothing changes unless everything is valid."""
        ours = {change.name: change.value for change in changes if change.name in self._specs}
        if not ours:
            return SetParametersResult(successful=True)
        try:
            settings = PolicyNodeSettings.from_values(self.settings.values() | ours)
        except (ValueError, TypeError) as error:
            return SetParametersResult(successful=False, reason=printable(error, MESSAGE))
        changed = settings.differences(self.settings)
        given = sorted(name for name in changed if self._specs[name].at_start)
        if given:
            return SetParametersResult(
                successful=False,
                reason=f"{given[0]} names code or files and is given at the start only: stop the "
                f"node and start it with {given[0]}:=... (ros2 launch) or -p {given[0]}:=...",
            )
        fixed = sorted(name for name in changed if not self._specs[name].live)
        if fixed and self._configured():
            return SetParametersResult(
                successful=False,
                reason=f"{fixed[0]} cannot change while the node is configured: deactivate and "
                "clean up first (ros2 lifecycle set <node> deactivate, then cleanup)",
            )
        self.settings = settings
        if changed:
            self._apply(settings, changed)
        return SetParametersResult(successful=True)
