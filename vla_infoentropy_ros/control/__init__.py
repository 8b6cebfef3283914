# SPDX-License-Identifier: Apache-2.0
"""The robot side without ROS: conventions, limits, hold with expiry, watchdog, interlocks."""
