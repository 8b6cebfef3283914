# SPDX-License-Identifier: Apache-2.0
"""All settings of the policy node in one place, validated together; no ROS in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.driving.parameter_specs import (
    ParameterSpec,
    group_specs,
    unknown_parameter,
)
from vla_infoentropy_ros.driving.state_input import StateSettings
from vla_infoentropy_ros.knobs import SettingError, check_knobs, knob
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.selection import (
    SCHEDULES,
    SelectionSettings,
    build_selector,
    selector_names,
)
from vla_infoentropy_ros.session import DECODE_MODES, SessionOptions, on_blindness
from vla_infoentropy_ros.variants import RECOMMENDED, Variant


@dataclass(frozen=True)
class NodeSettings:
    """What to load and what to listen to. Raises SettingError for a bad value."""

    selector: str = knob(
        RECOMMENDED.selector,
        "which visual tokens are recomputed; with +window, as in attention_drift+window, "
        "session.decode is window",
    )
    schedule: str = knob(
        "linear", "how attention takes over from image entropy", choices=tuple(SCHEDULES)
    )
    model: str = knob(
        "embedded",
        "embedded = the policy of this package; else a checkpoint's folder or hub id, or "
        "module:function, which loads any policy, with :text behind it what that is given",
    )
    instruction: str = knob("", "instruction in force after activation; empty: wait for the topic")
    image_transport: str = knob(
        "raw",
        "raw: image (sensor_msgs/Image); compressed: image/compressed",
        choices=("raw", "compressed"),
    )
    image_reliability: str = knob(
        "best_effort",
        "best_effort takes any publisher; reliable loses no frame, but needs a reliable publisher",
        choices=("best_effort", "reliable"),
    )
    sync_tolerance_s: float = knob(
        0.1, "largest difference of stamps between images of one moment, s", low=0.0, high=10.0
    )
    max_rate_hz: float = knob(
        0.0,
        "most policy steps per second, to spare the device; a step then begins with an image that "
        "has just arrived; 0: a step after the other",
        low=0.0,
        high=1000.0,
    )
    autostart: bool = knob(True, "true: configure and activate at start-up by itself")
    self_test: str = knob(
        "put the red cube on the white plate",
        "instruction of the test run when the policy is configured; empty: no test run",
    )

    def __post_init__(self) -> None:
        check_knobs(self)


DECODE = "session.decode"

# Fields of PolicyNodeSettings: the prefix of their parameters, and what declares them.
GROUPS: dict[str, tuple[str, Any]] = {
    "node": ("", NodeSettings),
    "load": ("", LoadOptions),
    "selection": ("selection.", SelectionSettings),
    "session": ("session.", SessionOptions),
    "state": ("state.", StateSettings),
    "command": ("command.", CommandSettings),
}
_LIVE_GROUPS = ("selection", "session", "command")
_LIVE = ("selector", "schedule")
# What names code, files or a place on the network is deployment: whoever can reach the graph could
# otherwise make this machine run a program of their choice.
_AT_START = ("model", "revision")
_NOT_LIVE = (
    "command.rate_hz", "command.output", "command.gripper_action", "command.gripper_action_type",
    "command.execute_actions", "command.pose_source", "command.servo", "command.slow_policy",
)  # fmt: skip


def parameter_specs(*groups: str) -> tuple[ParameterSpec, ...]:
    """The parameters of the policy node: of the named groups, or all."""
    return tuple(
        _as_given(replace(
            spec, live=_is_live(name, spec.name), at_start=spec.name in _AT_START
        ))
        for name in groups or GROUPS
        for spec in group_specs(*GROUPS[name])
    )


def _as_given(spec: ParameterSpec) -> ParameterSpec:
    """Selector and decoding as one gives them: the first may say the second, which is then left
    alone."""
    if spec.name == "selector":
        return replace(spec, default=str(RECOMMENDED), choices=selector_names())
    if spec.name == DECODE:
        doc = f"{spec.doc}; empty: as the selector says"
        return replace(spec, default="", choices=("", *DECODE_MODES), doc=doc)
    return spec


def _is_live(group: str, name: str) -> bool:
    return (group in _LIVE_GROUPS or name in _LIVE) and name not in _NOT_LIVE


@dataclass(frozen=True)
class PolicyNodeSettings:
    """The groups together."""

    node: NodeSettings = field(default_factory=NodeSettings)
    load: LoadOptions = field(default_factory=LoadOptions)
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    session: SessionOptions = field(
        default_factory=lambda: SessionOptions(decode=RECOMMENDED.decode)
    )
    state: StateSettings = field(default_factory=StateSettings)
    command: CommandSettings = field(default_factory=CommandSettings)

    def __post_init__(self) -> None:
        self.build_selector()

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> PolicyNodeSettings:
        """From parameter names and values. Raises ValueError with the reason."""
        known = [spec.name for spec in parameter_specs()]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise SettingError(unknown_parameter(unknown[0], known))
        values = _spelled_out(values)
        made: dict[str, Any] = {}
        for name, (prefix, group) in GROUPS.items():
            named = {
                entry.name: _plain(values[prefix + entry.name])
                for entry in fields(group)
                if prefix + entry.name in values
            }
            try:
                made[name] = group(**named)
            except ValueError as error:
                text = str(error)
                raise SettingError(text if text.startswith(prefix) else prefix + text) from error
        return cls(**made)

    def values(self) -> dict[str, Any]:
        """Parameter names and values."""
        return {
            prefix + entry.name: getattr(getattr(self, name), entry.name)
            for name, (prefix, group) in GROUPS.items()
            for entry in fields(group)
        }

    def build_selector(self) -> Any:
        """The selector these settings describe."""
        return build_selector(self.node.selector, self.node.schedule, self.selection)

    def wider_than(self, other: PolicyNodeSettings) -> str:
        """Why an enable that was given for the others does not hold for these, half a sentence;
        empty where it does."""
        names = self.command.wider_than(other.command)
        if self.session.accept_bins > other.session.accept_bins:
            names.append("session.accept_bins")
        reasons = [f"{', '.join(names)} now allows what it did not"] if names else []
        blind = on_blindness(self.node.selector, self.selection)
        if blind and not on_blindness(other.node.selector, other.selection):
            reasons.append(blind)
        return "; ".join(reasons)

    def differences(self, other: PolicyNodeSettings) -> set[str]:
        """Names of the parameters whose values differ."""
        theirs = other.values()
        return {name for name, value in self.values().items() if value != theirs[name]}


def _spelled_out(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """``selector: attention_drift+window`` as the two settings that it says at once. Raises
    SettingError where the other one is given too, and is another."""
    text, decode = str(values.get("selector", RECOMMENDED)), values.get(DECODE, "")
    variant = Variant.parse(text)
    if "+" in text and decode not in ("", variant.decode):
        raise SettingError(
            f"{DECODE}={decode!r} contradicts selector={text!r}, which says how to decode: give "
            f"the selector without it, as selector={variant.selector!r}"
        )
    return {**values, "selector": variant.selector, DECODE: decode or variant.decode}


def _plain(value: Any) -> Any:
    """ROS arrays to tuples; the rest as it is."""
    plain = value is None or isinstance(value, (str, bool, int, float))
    return value if plain else tuple(value)
