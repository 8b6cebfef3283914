# SPDX-License-Identifier: Apache-2.0
"""Why a visual token was recomputed: bits that may stand together; 0 means reused."""

REUSED = 0
IMAGE_ENTROPY = 1
ATTENTION = 2
STALE = 4  # it changed since its keys were computed
REFRESH = 8  # everything was
TOP_UP = 16
AGE = 32  # it is its turn
CONTROL = 64  # drawn at random
PRUNED = 128
