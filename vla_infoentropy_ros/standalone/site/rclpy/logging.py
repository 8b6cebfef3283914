# SPDX-License-Identifier: Apache-2.0
"""Access to loggers outside of nodes."""

from __future__ import annotations

from .impl import rcutils_logger
from .impl.rcutils_logger import LoggingSeverity, RcutilsLogger

__all__ = [
    "LoggingSeverity",
    "RcutilsLogger",
    "get_logger",
    "get_logger_effective_level",
    "get_logger_level",
    "get_logging_severity_from_string",
    "set_logger_level",
]


def get_logger(name: str) -> RcutilsLogger:
    """Return the logger of that name."""
    if not name:
        raise ValueError("Logger name must not be empty.")
    return RcutilsLogger(name)


def set_logger_level(name: str, level: int, detailed_error: bool = False) -> None:
    """Set the level of a logger."""
    rcutils_logger.set_level(name, level)


def get_logger_effective_level(name: str) -> LoggingSeverity:
    """Return the level in force for a logger."""
    return rcutils_logger.effective_level(name)


def get_logger_level(name: str) -> LoggingSeverity:
    """Return the level set on exactly this logger."""
    return rcutils_logger._levels.get(name, LoggingSeverity.UNSET)


def get_logging_severity_from_string(log_severity: str) -> LoggingSeverity:
    """Return the severity of that name."""
    return LoggingSeverity[log_severity.upper()]
