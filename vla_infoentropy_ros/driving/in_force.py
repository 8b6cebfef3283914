# SPDX-License-Identifier: Apache-2.0
"""What drives, and within which limits, and where each value came from; said at the start."""

from __future__ import annotations

from collections.abc import Mapping

from vla_infoentropy_ros.driving.live_settings import LiveSettings
from vla_infoentropy_ros.driving.settings import DECODE

_WHAT_RUNS = ("model", "selector", "schedule", "session.decode")
_LIMITS = "command."


def in_force(live: LiveSettings, origins: Mapping[str, str]) -> list[str]:
    """Lines for a log. origins: by parameter name; what is not in it is a default."""
    values = live.settings.values()

    def origin(name: str) -> str:
        if name == DECODE and not live.asked.get(name):
            return "selector"
        return origins.get(name, "default")

    def told(name: str, shown: str) -> str:
        value = values[name]
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return f"{shown} {text or repr('')}"

    runs = [f"{told(name, name)} ({origin(name)})" for name in _WHAT_RUNS]
    limits: dict[str, list[str]] = {}
    for name in values:
        if name.startswith(_LIMITS):
            limits.setdefault(origin(name), []).append(told(name, name.removeprefix(_LIMITS)))
    lines = [f"{_LIMITS}* from {each}: {', '.join(limits[each])}" for each in sorted(limits)]
    command = live.settings.command
    if command.servo and not command.asks_servo:
        lines.append(f"command.servo={command.servo} is not asked: command.output="
                     f"{command.output}, and Servo takes twists")
    return [f"in force: {', '.join(runs)}", *lines]
