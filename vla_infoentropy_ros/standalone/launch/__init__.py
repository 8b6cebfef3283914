# SPDX-License-Identifier: Apache-2.0
"""Runs XML launch files on machines without ROS 2.

``python -m vla_infoentropy_ros.standalone.launch FILE.launch.xml argument:=value ...`` supports
the elements that the files of this package use, with the meaning that ``ros2 launch`` gives them,
and refuses everything else by name and line.
"""
