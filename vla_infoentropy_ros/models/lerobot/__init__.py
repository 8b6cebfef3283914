# SPDX-License-Identifier: Apache-2.0
"""What checkpoints in LeRobot's layout share, whatever their network: features, statistics and the
meaning of their actions."""
