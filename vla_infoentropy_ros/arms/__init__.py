# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a physical arm: its joints, and the controllers that drivers put before them.

Kinematics are real, dynamics are none: joints follow what the controllers ask for. No ROS in here,
and every method that depends on time is told it.
"""
