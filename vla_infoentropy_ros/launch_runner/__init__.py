# SPDX-License-Identifier: Apache-2.0
"""Runs this package's XML launch files on machines that have no ``ros2 launch``.

Of the launch format it knows what those files use, and refuses the rest by file and line.
"""
