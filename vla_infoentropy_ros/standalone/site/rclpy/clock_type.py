# SPDX-License-Identifier: Apache-2.0
"""The kinds of clock."""

from enum import IntEnum


class ClockType(IntEnum):
    """What a time is measured against."""

    UNINITIALIZED = 0
    ROS_TIME = 1
    SYSTEM_TIME = 2
    STEADY_TIME = 3
