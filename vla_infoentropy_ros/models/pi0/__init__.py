# SPDX-License-Identifier: Apache-2.0
"""pi0, from checkpoints in LeRobot's layout and in that of transformers."""
