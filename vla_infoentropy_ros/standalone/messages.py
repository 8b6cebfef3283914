# SPDX-License-Identifier: Apache-2.0
"""Message and service classes that behave like the generated ones of ROS 2.

Keyword constructors, one property per field that rejects wrong types with ``AssertionError``,
``array.array`` for numeric sequences and ``numpy.ndarray`` for numeric fixed-size arrays. The
checks are always on; ROS 2 Jazzy switches them on with ``ROS_PYTHON_CHECK_FIELDS=1``.
"""

from __future__ import annotations

import array
import collections
import collections.abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .cdr import HEADER, PRIMITIVES, CdrError, struct_codec
from .typestore import ARRAY, SCALAR, SEQUENCE, FieldType, TypeSpec, registry

_INTEGER_RANGES = {
    name: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if name[0] == "i" else (0, 2**bits - 1)
    for name, bits in (
        ("int8", 8),
        ("int16", 16),
        ("int32", 32),
        ("int64", 64),
        ("uint8", 8),
        ("uint16", 16),
        ("uint32", 32),
        ("uint64", 64),
    )
}
_INTEGER_RANGES["char"] = (0, 255)
_FLOAT32_MAX = 3.402823466e38
# Names that rosidl_generator_py gives to primitive types in get_fields_and_field_types()
_IDL_NAMES = {
    "float32": "float",
    "float64": "double",
    "bool": "boolean",
    "byte": "octet",
    "char": "uint8",
}

Check = Callable[[Any], bool]
_classes: dict[str, type[Message]] = {}


class Message:
    """Base of all message classes."""

    __slots__ = ()
    _spec: ClassVar[TypeSpec]
    _factories: ClassVar[dict[str, Callable[[], Any]]]
    _write: ClassVar[Callable[[bytearray, Any], None]]
    _read: ClassVar[Callable[[memoryview, int], tuple[Any, int]]]

    def __init__(self, **kwargs: Any) -> None:
        """Set the given fields, and all others to their defaults."""
        kwargs.pop("check_fields", None)
        unknown = sorted(set(kwargs) - set(self._factories))
        if unknown:
            raise AssertionError(
                f"Invalid arguments passed to constructor: {', '.join(unknown)}. "
                f"Fields of {self._spec.name}: {', '.join(self._factories)}"
            )
        for name, make in self._factories.items():
            if name in kwargs:
                setattr(self, name, kwargs[name])
            else:
                setattr(self, "_" + name, make())

    @classmethod
    def get_fields_and_field_types(cls) -> dict[str, str]:
        """Field names and their IDL types, in order of definition."""
        return {name: _type_label(kind) for name, kind in cls._spec.fields}

    def __repr__(self) -> str:
        package, kind, name = self._spec.name.split("/")
        values = []
        for label in self._factories:
            value = getattr(self, label)
            text = repr(value.tolist() if isinstance(value, array.array) else value)
            values.append(f"{label}={text}")
        return f"{package}.{kind}.{name}({', '.join(values)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return False
        for name in self._factories:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, np.ndarray) or isinstance(theirs, np.ndarray):
                if not np.array_equal(mine, theirs):
                    return False
            elif mine != theirs:
                return False
        return True

    __hash__ = None  # type: ignore[assignment]


def message_class(name: str) -> type[Message]:
    """Return the class of a type such as ``std_msgs/msg/Header``."""
    found = _classes.get(name)
    return found if found is not None else _classes.setdefault(name, _build(name))


def service_class(name: str) -> type:
    """Return the class of a service type such as ``std_srvs/srv/SetBool``."""
    found: Any = _classes.get(name)
    if found is not None:
        return found
    package, kind, short = name.split("/")
    parts = {half: message_class(f"{name}_{half}") for half in ("Request", "Response")}
    built: Any = type(
        short,
        (),
        {
            **parts,
            "__doc__": f"Service {name}.",
            "__module__": f"{package}.{kind}",
            "_service_name": name,
        },
    )
    _classes[name] = built
    return built


def action_class(name: str) -> type:
    """Return the class of an action type such as ``example_interfaces/action/Fibonacci``."""
    found: Any = _classes.get(name)
    if found is not None:
        return found
    package, kind, short = name.split("/")
    parts: dict[str, Any] = {
        part: message_class(f"{name}_{part}") for part in ("Goal", "Result", "Feedback")
    }
    implementation = {
        "SendGoalService": service_class(f"{name}_SendGoal"),
        "GetResultService": service_class(f"{name}_GetResult"),
        "FeedbackMessage": message_class(f"{name}_FeedbackMessage"),
        "CancelGoalService": service_class("action_msgs/srv/CancelGoal"),
        "GoalStatusMessage": message_class("action_msgs/msg/GoalStatusArray"),
    }
    parts |= {
        "Impl": type("Impl", (), implementation),
        "__doc__": f"Action {name}.",
        "__module__": f"{package}.{kind}",
        "_action_name": name,
    }
    built: Any = type(short, (), parts)
    _classes[name] = built
    return built


def type_name(cls: Any) -> str:
    """Full name of a message or service class, or a ``TypeError`` that says what to pass."""
    spec = getattr(cls, "_spec", None)
    name = spec.name if isinstance(spec, TypeSpec) else getattr(cls, "_service_name", None)
    if not isinstance(name, str):
        raise TypeError(
            f"{cls!r} is not a ROS message or service class. "
            "Import one, such as: from std_msgs.msg import String"
        )
    return name


def serialize(message: Message) -> bytes:
    """CDR bytes of a message, with encapsulation header, padded to whole words."""
    buffer = bytearray(HEADER)
    type(message)._write(buffer, message)
    buffer += bytes(-len(buffer) % 4)
    return bytes(buffer)


def deserialize(data: bytes | memoryview, cls: type[Message], offset: int = 0) -> Any:
    """Message of class ``cls`` from CDR bytes; ``offset`` skips a service header."""
    if len(data) < 4 or bytes(data[:2]) != HEADER[:2]:
        raise CdrError(
            f"Cannot read a {cls._spec.name}: encapsulation {bytes(data[:4])!r} is not "
            "little-endian XCDR1."
        )
    try:
        message, _ = cls._read(memoryview(data)[4:], offset)
    except CdrError:
        raise
    except Exception as error:
        raise CdrError(f"Cannot read a {cls._spec.name}: {error}") from error
    return message


def _build(name: str) -> type[Message]:
    spec = registry().spec(name)
    package, kind, short = name.split("/")
    namespace: dict[str, Any] = {
        "__slots__": tuple("_" + label for label, _ in spec.fields),
        "__module__": f"{package}.{kind}",
        "__doc__": f"Message {name}.",
        "_spec": spec,
        "_factories": {
            label: _default_factory(field, spec.defaults.get(label)) for label, field in spec.fields
        },
    }
    for label, field in spec.fields:
        namespace[label] = _property(label, field)
    for label, base, value in spec.constants:
        namespace[label] = bytes([value]) if base == "byte" else value
    for label, value in spec.defaults.items():
        namespace[f"{label.upper()}__DEFAULT"] = value
    cls: type[Message] = type(short, (Message,), namespace)
    # Staticmethods: plain functions stored on the class would be bound to instances.
    write, read = struct_codec(list(spec.fields), lambda: cls.__new__(cls))
    cls._write, cls._read = staticmethod(write), staticmethod(read)
    return cls


def _default_factory(field: FieldType, default: Any) -> Callable[[], Any]:
    code = PRIMITIVES.get(field.base, ("", None))[1]
    if field.kind != SCALAR and code is not None:
        values = default if default is not None else [0] * (field.size * (field.kind == ARRAY))
        if field.kind == ARRAY:
            return lambda: np.array(values, dtype=code)
        return lambda: array.array(code, values)
    if default is not None:
        return lambda: list(default) if isinstance(default, list) else default
    if field.kind == SEQUENCE:
        return list
    one = _scalar_factory(field.base)
    if field.kind == ARRAY:
        return lambda: [one() for _ in range(field.size)]
    return one


def _scalar_factory(base: str) -> Callable[[], Any]:
    if "/" in base:
        return lambda: message_class(base)()
    zero = {"string": "", "bool": False, "byte": b"\x00", "float32": 0.0, "float64": 0.0}
    value = zero.get(base, 0)
    return lambda: value


def _property(name: str, field: FieldType) -> property:
    slot = "_" + name
    convert = _converter(name, field)

    def getter(self: Message) -> Any:
        return getattr(self, slot)

    def setter(self: Message, value: Any) -> None:
        setattr(self, slot, convert(value))

    return property(getter, setter, doc=f"Message field {name!r}, {_type_label(field)}.")


def _converter(name: str, field: FieldType) -> Callable[[Any], Any]:
    """Return the function that checks a value and gives back what is stored."""
    check, wanted = _element_check(field)
    if field.kind == SCALAR:

        def scalar(value: Any) -> Any:
            if not check(value):
                raise AssertionError(f"The '{name}' field must be {wanted}, not {_shown(value)}.")
            return value

        return scalar

    code = PRIMITIVES.get(field.base, ("", None))[1]
    limit = field.size
    length_text = f" with length {'' if field.kind == ARRAY else '<= '}{limit}" if limit else ""
    message = f"The '{name}' field must be a set or sequence{length_text}, each value {wanted}"

    def many(value: Any) -> Any:
        ready = _ready_block(name, field, code, value)
        if ready is not None:
            return ready
        if not isinstance(
            value, collections.abc.Sequence | collections.abc.Set | collections.UserList
        ) or isinstance(value, str | collections.UserString):
            raise AssertionError(f"{message}, not {_shown(value)}.")
        bad_length = len(value) != limit if field.kind == ARRAY else limit and len(value) > limit
        if bad_length:
            raise AssertionError(f"{message}; got length {len(value)}.")
        if code == "B" and isinstance(value, bytes | bytearray):
            return (
                np.frombuffer(value, code).copy()
                if field.kind == ARRAY
                else array.array(code, bytes(value))
            )
        for item in value:
            if not check(item):
                raise AssertionError(f"{message}; got {_shown(item)}.")
        if code is None:
            return value
        return np.array(value, dtype=code) if field.kind == ARRAY else array.array(code, value)

    return many


def _ready_block(name: str, field: FieldType, code: str | None, value: Any) -> Any:
    """Return a value that has the storage type already; None where it has another type."""
    if code is None:
        return None
    if field.kind == ARRAY and isinstance(value, np.ndarray):
        if value.dtype != np.dtype(code):
            raise AssertionError(
                f"The '{name}' numpy.ndarray() must have the dtype {np.dtype(code)}, "
                f"not {value.dtype}."
            )
        if value.size != field.size:
            raise AssertionError(
                f"The '{name}' numpy.ndarray() must have a size of {field.size}, not {value.size}."
            )
        return value
    if field.kind == SEQUENCE and isinstance(value, array.array):
        if value.typecode != code:
            raise AssertionError(
                f"The '{name}' array.array() must have the type code {code!r}, "
                f"not {value.typecode!r}."
            )
        if field.size and len(value) > field.size:
            raise AssertionError(
                f"The '{name}' array.array() must have a size <= {field.size}, not {len(value)}."
            )
        return value
    return None


def _element_check(field: FieldType) -> tuple[Check, str]:
    base, bound = field.base, field.string_bound
    if field.is_message:
        short = base.split("/")[-1]
        return lambda value: isinstance(
            value, message_class(base)
        ), f"a sub message of type {short}"
    if base == "string":
        if bound:
            return (
                lambda value: isinstance(value, str) and len(value) <= bound,
                f"a str not longer than {bound}",
            )
        return lambda value: isinstance(value, str), "of type 'str'"
    if base == "bool":
        return lambda value: isinstance(value, bool), "of type 'bool'"
    if base == "byte":
        return (
            lambda value: isinstance(value, bytes | bytearray) and len(value) == 1,
            "of type 'bytes' with length 1",
        )
    if base.startswith("float"):
        largest = _FLOAT32_MAX if base == "float32" else math.inf

        def check(value: Any) -> bool:
            if not isinstance(value, float):
                return False
            return -largest <= value <= largest or math.isinf(value) or math.isnan(value)

        return check, f"of type 'float' ({base})"
    low, high = _INTEGER_RANGES[base]
    return lambda value: isinstance(value, int) and low <= value <= high, (
        f"of type 'int' in [{low}, {high}]"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) < 60 else text[:57] + '...'} of type {type(value).__name__!r}"


def _type_label(field: FieldType) -> str:
    if field.is_message:
        package, _, short = field.base.split("/")
        label = f"{package}/{short}"
    else:
        label = _IDL_NAMES.get(field.base, field.base)
        if field.string_bound:
            label = f"string<{field.string_bound}>"
    if field.kind == ARRAY:
        return f"{label}[{field.size}]"
    if field.kind == SEQUENCE:
        return f"sequence<{label}{f', {field.size}' if field.size else ''}>"
    return label
