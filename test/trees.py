# SPDX-License-Identifier: Apache-2.0
"""Which tree is tested: the one that Python imports the package from, here and in a child."""

from __future__ import annotations

import os
from pathlib import Path

import vla_infoentropy_ros

SOURCE = Path(__file__).parents[1]
IMPORTED = Path(vla_infoentropy_ros.__path__[0])


def child_path(*folders: Path) -> str:
    """PYTHONPATH of a child that imports the same tree, the tests, and what is in ``folders``."""
    told = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(map(str, (*folders, IMPORTED.parent, SOURCE, *filter(None, [told]))))
