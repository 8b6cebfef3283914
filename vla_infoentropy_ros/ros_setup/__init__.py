# SPDX-License-Identifier: Apache-2.0
"""Set-up of ROS 2 for `make`: which one is used, the wheels made usable, our messages built.

Standard library only: it runs before anything is installed. ::

    source.py      which ROS 2: the sourced one, or the wheels of requirements-ros.lock
    wheels.py      what the wheels need before they work in a virtual environment
    interfaces.py  messages and actions, built by CMakeLists.txt into the virtual environment
"""
