# SPDX-License-Identifier: Apache-2.0
"""The helpers beside the tests are importable by their plain names."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
