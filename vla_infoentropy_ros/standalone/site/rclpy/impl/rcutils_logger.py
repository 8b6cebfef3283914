# SPDX-License-Identifier: Apache-2.0
"""Loggers: levels by hierarchical name, filters for repeated calls, console and /rosout."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any


class LoggingSeverity(IntEnum):
    """Severities, from least to most important."""

    UNSET = 0
    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


_DEFAULT_FORMAT = "[{severity}] [{time}] [{name}]: {message}"
_COLORS = {"DEBUG": "32", "WARN": "33", "ERROR": "31", "FATAL": "31"}
_levels: dict[str, LoggingSeverity] = {"": LoggingSeverity.INFO}
_write_lock = threading.Lock()

# Called with (severity, logger name, message, (file, function, line), time in ns)
Sink = Callable[[LoggingSeverity, str, str, "tuple[str, str, int]", int], None]
# Logger name of a node -> publisher of its /rosout messages
_sinks: dict[str, list[Sink]] = {}


def set_level(name: str, level: int) -> None:
    """Set the level of a logger and, unless they have their own, of its children."""
    severity = LoggingSeverity(level)
    if severity == LoggingSeverity.UNSET and name:
        _levels.pop(name, None)
    else:
        _levels[name] = severity


def effective_level(name: str) -> LoggingSeverity:
    """Level of the nearest ancestor that has one."""
    while name and name not in _levels:
        name = name.rpartition(".")[0]
    level = _levels[name]
    return LoggingSeverity.INFO if level == LoggingSeverity.UNSET else level


def add_sink(name: str, sink: Sink) -> None:
    """Send messages of a logger and its children to ``sink`` as well."""
    _sinks.setdefault(name, []).append(sink)


def remove_sink(name: str, sink: Sink) -> None:
    """Undo :func:`add_sink`."""
    if sink in _sinks.get(name, []):
        _sinks[name].remove(sink)
        if not _sinks[name]:
            del _sinks[name]


def _format(severity: str, name: str, message: str, where: tuple[str, str, int], now: int) -> str:
    values = {
        "severity": severity,
        "name": name,
        "message": message,
        "time": f"{now // 10**9}.{now % 10**9:09d}",
        "time_as_nanoseconds": str(now),
        "file_name": where[0],
        "function_name": where[1],
        "line_number": str(where[2]),
    }
    pattern = os.environ.get("RCUTILS_CONSOLE_OUTPUT_FORMAT", _DEFAULT_FORMAT)
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), pattern)


def _colored(severity: str, line: str) -> str:
    wanted = os.environ.get("RCUTILS_COLORIZED_OUTPUT")
    color = _COLORS.get(severity)
    if color is None or wanted == "0" or (wanted != "1" and not sys.stderr.isatty()):
        return line
    return f"\033[{color}m{line}\033[0m"


def emit(severity: LoggingSeverity, name: str, message: str, where: tuple[str, str, int]) -> None:
    """Write to the console and to /rosout."""
    now = time.time_ns()
    line = _colored(severity.name, _format(severity.name, name, message, where, now))
    with _write_lock:
        # The stream may be closed already while the interpreter shuts down.
        if not sys.stderr.closed:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
    ancestor = name
    while ancestor:
        for sink in list(_sinks.get(ancestor, ())):
            sink(severity, name, message, where, now)
        ancestor = ancestor.rpartition(".")[0]


class RcutilsLogger:
    """A named logger."""

    def __init__(self, name: str = "") -> None:
        """Keep the name."""
        self.name = name
        self._filters: dict[tuple[str, int], dict[str, Any]] = {}

    def get_child(self, name: str) -> RcutilsLogger:
        """Return the logger ``<this>.<name>``."""
        if not name:
            raise ValueError("Child logger name must not be empty.")
        return RcutilsLogger(f"{self.name}.{name}" if self.name else name)

    def set_level(self, level: int) -> None:
        """Set the level."""
        set_level(self.name, level)

    def get_effective_level(self) -> LoggingSeverity:
        """Return the level in force."""
        return effective_level(self.name)

    def is_enabled_for(self, severity: int) -> bool:
        """Whether a message of this severity is written."""
        return severity >= effective_level(self.name)

    def log(self, message: Any, severity: int, **kwargs: Any) -> bool:
        """Write a message unless a level or filter keeps it back; return whether it was written.

        Filters: ``once``, ``skip_first``, ``throttle_duration_sec`` (with
        ``throttle_time_source_type``, a clock). They count per calling line.
        """
        severity = LoggingSeverity(severity)
        unknown = set(kwargs) - {
            "once",
            "skip_first",
            "throttle_duration_sec",
            "throttle_time_source_type",
        }
        if unknown:
            raise TypeError(
                f"Unknown logging arguments {sorted(unknown)}. Known: once, skip_first, "
                "throttle_duration_sec, throttle_time_source_type"
            )
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename == __file__:
            frame = frame.f_back
        where = (frame.f_code.co_filename, frame.f_code.co_name, frame.f_lineno)
        if not self.is_enabled_for(severity) or not self._passes((where[0], where[2]), kwargs):
            return False
        emit(severity, self.name, str(message), where)
        return True

    def _passes(self, caller: tuple[str, int], options: dict[str, Any]) -> bool:
        if not options:
            return True
        state = self._filters.setdefault(caller, {"calls": 0, "written": None})
        state["calls"] += 1
        if options.get("skip_first") and state["calls"] == 1:
            return False
        if options.get("once") and state["written"] is not None:
            return False
        now = time.monotonic()
        if "throttle_duration_sec" in options:
            clock: Any = options.get("throttle_time_source_type")
            if clock is not None and hasattr(clock, "now"):
                now = clock.now().nanoseconds / 1e9
            last = state["written"]
            if last is not None and last <= now < last + options["throttle_duration_sec"]:
                return False
        state["written"] = now
        return True

    def debug(self, message: Any, **kwargs: Any) -> bool:
        """Log with severity DEBUG."""
        return self.log(message, LoggingSeverity.DEBUG, **kwargs)

    def info(self, message: Any, **kwargs: Any) -> bool:
        """Log with severity INFO."""
        return self.log(message, LoggingSeverity.INFO, **kwargs)

    def warning(self, message: Any, **kwargs: Any) -> bool:
        """Log with severity WARN."""
        return self.log(message, LoggingSeverity.WARN, **kwargs)

    warn = warning

    def error(self, message: Any, **kwargs: Any) -> bool:
        """Log with severity ERROR."""
        return self.log(message, LoggingSeverity.ERROR, **kwargs)

    def fatal(self, message: Any, **kwargs: Any) -> bool:
        """Log with severity FATAL."""
        return self.log(message, LoggingSeverity.FATAL, **kwargs)
