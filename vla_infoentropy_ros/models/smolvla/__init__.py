# SPDX-License-Identifier: Apache-2.0
"""SmolVLA, from checkpoints in LeRobot's layout."""
