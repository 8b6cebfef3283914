# SPDX-License-Identifier: Apache-2.0
"""Why a visual token was recomputed: bits that may stand together; 0 means reused."""

REUSED = 0
IMAGE_ENTROPY = 1
ATTENTION = 2
STALE = 4
REFRESH = 8
TOP_UP = 16
AGE = 32
CONTROL = 64
PRUNED = 128

NAMES = {
    REUSED: "reused",
    IMAGE_ENTROPY: "image entropy",
    ATTENTION: "attention",
    STALE: "changed since its keys were computed",
    REFRESH: "full refresh",
    TOP_UP: "top-up",
    AGE: "age limit",
    CONTROL: "random control",
    PRUNED: "pruned",
}
