# SPDX-License-Identifier: Apache-2.0
"""Reading a checkpoint's JSON: whatever stands there, it is used or refused by name."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from vla_infoentropy_ros.foreign import files
from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.models.adapter import PolicyError

REMEDY = "correct it, or fetch the file again from where the checkpoint comes from"

# No published network has sizes near it; beyond, building one would not end.
LARGEST = 10_000_000


@dataclass(frozen=True)
class Fields:
    """A JSON object, read field by field; null counts as absent.

    file: the name for messages. where: of the object in the file, "text_config." or "". Every
    reader takes a default for an absent field, None for one that must be there, and raises
    PolicyError with file, field, value and remedy for a value of another type or range.
    """

    file: str
    values: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def integer(
        self, name: str, default: int | None = None, *, low: int = 1, high: int = LARGEST
    ) -> int:
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(name, f"an integer from {low} to {high}")
        return value

    def number(self, name: str, default: float | None = None, *, above: float = 0.0) -> float:
        value = self._get(name, default)
        if not is_number(value) or not above < value <= LARGEST:
            self.refuse(name, f"a number above {above:g} and at most {LARGEST}")
        return float(value)

    def flag(self, name: str, default: bool | None = None) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            self.refuse(name, "true or false")
        return value

    def choice(self, name: str, known: tuple[str, ...], default: str | None = None) -> str:
        value = self._get(name, default)
        if not isinstance(value, str) or value not in known:
            self.refuse(name, "one of " + ", ".join(known) if len(known) > 1 else repr(known[0]))
        return value

    def text(self, name: str, default: str | None = None) -> str:
        value = self._get(name, default)
        if not isinstance(value, str):
            self.refuse(name, "a text")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts, of any length."""
        value = self._get(name, None)
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            self.refuse(name, "a list of texts")
        return value

    def items(
        self, name: str, length: int, what: str, default: list[Any] | None = None
    ) -> list[Any]:
        """A list of ``length`` values, not looked at; what: they are, for the message."""
        value = self._get(name, default)
        if not isinstance(value, list) or len(value) != length:
            self.refuse(name, f"a list of {length} {what}")
        return value

    def numbers(
        self, name: str, length: int, default: list[float] | None = None,
        *, low: float = -math.inf, high: float = math.inf,
    ) -> list[float]:
        """A list of ``length`` finite numbers from ``low`` to ``high``."""
        limits = "" if low == -math.inf else f" from {low:g} to {high:g}"
        value = self.items(name, length, f"finite numbers{limits}", default)
        if not all(is_number(entry) and low <= entry <= high for entry in value):
            self.refuse(name, f"a list of {length} finite numbers{limits}")
        return [float(entry) for entry in value]

    def flags(self, name: str, length: int, default: list[bool]) -> list[bool]:
        """A list of ``length`` times true or false."""
        value = self.items(name, length, "times true or false", default)
        if not all(isinstance(entry, bool) for entry in value):
            self.refuse(name, f"a list of {length} times true or false")
        return value

    def object(self, name: str, default: Mapping[str, Any] | None = None) -> Fields:
        """The object that stands at ``name``."""
        value = self._get(name, default)
        if not isinstance(value, Mapping):
            self.refuse(name, "an object")
        return Fields(self.file, value, f"{self.where}{name}.")

    def objects(
        self, name: str, length: int, default: list[dict[str, Any]] | None = None
    ) -> list[Fields]:
        """The objects in the list that stands at ``name``."""
        value = self.items(name, length, "objects", default)
        if not all(isinstance(entry, Mapping) for entry in value):
            self.refuse(name, f"a list of {length} objects")
        return [
            Fields(self.file, entry, f"{self.where}{name}[{index}].")
            for index, entry in enumerate(value)
        ]

    def refuse(self, name: str, wanted: str) -> NoReturn:
        """Raise PolicyError: the field must be something else."""
        found = f"={shown(self.values[name])}" if self.has(name) else " is missing"
        raise PolicyError(f"{self.file}: {self.where}{name}{found}: must be {wanted}; {REMEDY}")

    def _get(self, name: str, default: Any) -> Any:
        return self.values[name] if self.has(name) else default


def is_number(value: Any) -> bool:
    """A finite number that a float can hold, which true and false are not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from ``path``; errors name the file."""
    try:
        value = files.read_json(path, PolicyError)
    except FileNotFoundError as error:
        raise PolicyError(f"{path} is missing; name a complete checkpoint folder") from error
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}; fetch it again") from error
    if not isinstance(value, dict):
        raise PolicyError(
            f"{path} holds a JSON {type(value).__name__}, must be an object; fetch it again"
        )
    return value


def read_optional_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``, {} where there is no such file."""
    return read_json(path) if os.path.lexists(path) else {}
