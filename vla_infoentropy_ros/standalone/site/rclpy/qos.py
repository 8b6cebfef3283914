# SPDX-License-Identifier: Apache-2.0
"""Quality-of-service profiles."""

from __future__ import annotations

import warnings
from enum import Enum, IntEnum
from typing import Any

from vla_infoentropy_ros.standalone.dds import EndpointQos

from .duration import Duration


class QoSPolicyKind(IntEnum):
    """Identifiers of the policies, as in incompatible-QoS events."""

    INVALID = 1
    DURABILITY = 2
    DEADLINE = 4
    LIVELINESS = 8
    RELIABILITY = 16
    HISTORY = 32
    LIFESPAN = 64
    DEPTH = 128
    LIVELINESS_LEASE_DURATION = 256
    AVOID_ROS_NAMESPACE_CONVENTIONS = 512


def qos_policy_name_from_kind(policy_kind: int) -> str:
    """Return the name of a policy."""
    return QoSPolicyKind(policy_kind).name


class InvalidQoSProfileException(Exception):
    """A profile cannot be used."""

    def __init__(self, *args: Any) -> None:
        """Prefix the text."""
        super().__init__("Invalid QoSProfile", *args)


class QoSPolicyEnum(IntEnum):
    """Base of the policy values."""

    @classmethod
    def short_keys(cls) -> list[str]:
        """Lower-case names of all values."""
        return [key.lower() for key in cls.__members__]

    @classmethod
    def get_from_short_key(cls, name: str) -> int:
        """Value of a lower-case name."""
        return cls[name.upper()].value

    @property
    def short_key(self) -> str:
        """Lower-case name of the value."""
        return self.name.lower()


class HistoryPolicy(QoSPolicyEnum):
    """How many samples are kept."""

    SYSTEM_DEFAULT = 0
    KEEP_LAST = 1
    KEEP_ALL = 2
    UNKNOWN = 3


class ReliabilityPolicy(QoSPolicyEnum):
    """Whether lost samples are sent again."""

    SYSTEM_DEFAULT = 0
    RELIABLE = 1
    BEST_EFFORT = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class DurabilityPolicy(QoSPolicyEnum):
    """Whether late subscribers get earlier samples."""

    SYSTEM_DEFAULT = 0
    TRANSIENT_LOCAL = 1
    VOLATILE = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class LivelinessPolicy(QoSPolicyEnum):
    """How a publisher proves to be alive."""

    SYSTEM_DEFAULT = 0
    AUTOMATIC = 1
    MANUAL_BY_TOPIC = 3
    UNKNOWN = 4
    BEST_AVAILABLE = 5


QoSHistoryPolicy = HistoryPolicy
QoSReliabilityPolicy = ReliabilityPolicy
QoSDurabilityPolicy = DurabilityPolicy
QoSLivelinessPolicy = LivelinessPolicy

_DEFAULTS: dict[str, Any] = {
    "depth": 10,
    "reliability": ReliabilityPolicy.RELIABLE,
    "durability": DurabilityPolicy.VOLATILE,
    "lifespan": Duration(),
    "deadline": Duration(),
    "liveliness": LivelinessPolicy.SYSTEM_DEFAULT,
    "liveliness_lease_duration": Duration(),
    "avoid_ros_namespace_conventions": False,
}
_POLICIES: dict[str, type[QoSPolicyEnum]] = {
    "history": HistoryPolicy,
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
    "liveliness": LivelinessPolicy,
}
_TYPES: dict[str, type] = {
    "depth": int,
    "lifespan": Duration,
    "deadline": Duration,
    "liveliness_lease_duration": Duration,
    "avoid_ros_namespace_conventions": bool,
}


class QoSProfile:
    """All policies of a publisher or subscription."""

    __slots__ = ("_values",)

    history: Any
    depth: Any
    reliability: Any
    durability: Any
    lifespan: Any
    deadline: Any
    liveliness: Any
    liveliness_lease_duration: Any
    avoid_ros_namespace_conventions: Any

    def __init__(self, **kwargs: Any) -> None:
        """Take policies by name; ``depth`` or ``history`` is required."""
        unknown = sorted(set(kwargs) - {"history", *_DEFAULTS})
        if unknown:
            raise AssertionError(
                f"Invalid arguments passed to constructor: {unknown}. "
                f"Known: {['history', *_DEFAULTS]}"
            )
        if "history" not in kwargs and "depth" not in kwargs:
            raise InvalidQoSProfileException("History and/or depth settings are required.")
        kwargs.setdefault("history", HistoryPolicy.KEEP_LAST)
        if kwargs["history"] == HistoryPolicy.KEEP_LAST and "depth" not in kwargs:
            raise InvalidQoSProfileException("History set to KEEP_LAST without a depth setting.")
        object.__setattr__(self, "_values", {})
        for name, value in ({"history": kwargs["history"]} | _DEFAULTS | kwargs).items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"QoSProfile has no policy {name!r}")
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _POLICIES:
            if not isinstance(value, int):
                raise AssertionError(f"{name} must be a {_POLICIES[name].__name__}, not {value!r}")
            value = _POLICIES[name](value)
        elif name in _TYPES:
            if not isinstance(value, _TYPES[name]):
                raise AssertionError(f"{name} must be a {_TYPES[name].__name__}, not {value!r}")
        else:
            raise AttributeError(f"QoSProfile has no policy {name!r}")
        if name == "depth" and value == 0 and self._values["history"] == HistoryPolicy.KEEP_LAST:
            warnings.warn(
                "A zero depth with KEEP_LAST doesn't make sense; no data could be stored. "
                "This will be interpreted as SYSTEM_DEFAULT",
                stacklevel=2,
            )
        self._values[name] = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QoSProfile) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]

    def __copy__(self) -> QoSProfile:
        return QoSProfile(**self._values)

    def __deepcopy__(self, memo: Any) -> QoSProfile:
        return QoSProfile(**self._values)

    def __str__(self) -> str:
        return f"QoSProfile({', '.join(f'{k}={v}' for k, v in self._values.items())})"

    def to_endpoint(self, user_data: str = "") -> EndpointQos:
        """Policies for the DDS layer; system defaults and best-available become ROS defaults."""
        infinite = 2**63 - 1
        for name in ("history", "reliability", "durability", "liveliness"):
            if self._values[name].name == "UNKNOWN":
                raise InvalidQoSProfileException(f"{name} is UNKNOWN; choose another value.")

        def nanoseconds(duration: Duration) -> int:
            return 0 if duration.nanoseconds >= infinite else duration.nanoseconds

        return EndpointQos(
            reliable=self.reliability != ReliabilityPolicy.BEST_EFFORT,
            transient_local=self.durability == DurabilityPolicy.TRANSIENT_LOCAL,
            keep_all=self.history == HistoryPolicy.KEEP_ALL,
            depth=max(1, self.depth),
            deadline=nanoseconds(self.deadline),
            lifespan=nanoseconds(self.lifespan),
            manual_liveliness=self.liveliness == LivelinessPolicy.MANUAL_BY_TOPIC,
            lease=nanoseconds(self.liveliness_lease_duration),
            user_data=user_data,
        )


def _reliable(depth: int, **kwargs: Any) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, **kwargs)


qos_profile_default = _reliable(10)
qos_profile_system_default = QoSProfile(
    history=HistoryPolicy.SYSTEM_DEFAULT,
    depth=0,
    reliability=ReliabilityPolicy.SYSTEM_DEFAULT,
    durability=DurabilityPolicy.SYSTEM_DEFAULT,
)
qos_profile_sensor_data = _reliable(5, reliability=ReliabilityPolicy.BEST_EFFORT)
qos_profile_services_default = _reliable(10)
qos_profile_parameters = _reliable(1000)
qos_profile_parameter_events = _reliable(1000)
qos_profile_best_available = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=10,
    reliability=ReliabilityPolicy.BEST_AVAILABLE,
    durability=DurabilityPolicy.BEST_AVAILABLE,
    liveliness=LivelinessPolicy.BEST_AVAILABLE,
)
qos_profile_action_status_default = _reliable(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class QoSPresetProfiles(Enum):
    """The profiles above by name."""

    SYSTEM_DEFAULT = qos_profile_system_default
    SENSOR_DATA = qos_profile_sensor_data
    SERVICES_DEFAULT = qos_profile_services_default
    PARAMETERS = qos_profile_parameters
    PARAMETER_EVENTS = qos_profile_parameter_events
    ACTION_STATUS_DEFAULT = qos_profile_action_status_default
    BEST_AVAILABLE = qos_profile_best_available
    DEFAULT = qos_profile_default

    @classmethod
    def short_keys(cls) -> list[str]:
        """Lower-case names of all profiles."""
        return [key.lower() for key in cls.__members__]

    @classmethod
    def get_from_short_key(cls, name: str) -> QoSProfile:
        """Profile of a lower-case name."""
        return cls[name.upper()].value


def as_profile(value: QoSProfile | int) -> QoSProfile:
    """Accept a depth in place of a profile, as ``create_publisher`` does."""
    if isinstance(value, QoSProfile):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"History depth must be greater than or equal to zero, not {value}.")
        return QoSProfile(depth=value)
    raise TypeError(f"Expected QoSProfile or int, but received {type(value).__name__}.")
