# SPDX-License-Identifier: Apache-2.0
"""One episode of one policy: the step, what it leaves for the next, what it tells."""

from __future__ import annotations

import vla_infoentropy_ros.models  # noqa: F401 - judges the transformers that is installed
from vla_infoentropy_ros.session.alone import decide_alone
from vla_infoentropy_ros.session.notes import notes_on, on_blindness
from vla_infoentropy_ros.session.options import DECODE_MODES, SessionOptions
from vla_infoentropy_ros.session.report import SelectionReport, StepResult
from vla_infoentropy_ros.session.session import (
    Session,
    StepError,
    check_fit,
    decoding,
)

__all__ = [
    "DECODE_MODES",
    "SelectionReport",
    "Session",
    "SessionOptions",
    "StepError",
    "StepResult",
    "check_fit",
    "decide_alone",
    "decoding",
    "notes_on",
    "on_blindness",
]
