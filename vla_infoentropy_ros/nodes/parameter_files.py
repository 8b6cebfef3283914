# SPDX-License-Identifier: Apache-2.0
"""Parameter files looked at before rclpy reads them: it waits at a FIFO, and reads /dev/zero."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from vla_infoentropy_ros.foreign.files import read_yaml
from vla_infoentropy_ros.foreign.text import shown

_FLAG = "--params-file"


def check_parameter_files(arguments: Sequence[str], error: type[Exception]) -> None:
    """Raise ``error`` unless the parameter files of a command line are YAML within budgets."""
    for flag, value in itertools.pairwise(arguments):
        if flag != _FLAG:
            continue
        try:
            read_yaml(Path(value), error)
        except (OSError, ValueError) as cause:
            if isinstance(cause, error):
                raise
            reason = getattr(cause, "strerror", None) or cause
            raise error(f"{_FLAG} {shown(value)} cannot be read: {reason}") from cause
