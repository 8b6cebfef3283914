# SPDX-License-Identifier: Apache-2.0
"""What turns observations into commands: no ROS, no files, no sockets, the clock handed in.

An image's way: a skin (node, replay, server) -> `intake` -> `runner` -> session -> `commander` ->
the skin's end of the commands. `driver.Driver` puts them together and owns the episode.
"""
