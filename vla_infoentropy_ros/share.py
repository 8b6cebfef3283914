# SPDX-License-Identifier: Apache-2.0
"""Where the files of this package that are not Python live (``msg/``, ``launch/``, ``config/``)."""

from __future__ import annotations

import site
import sys
from pathlib import Path

PACKAGE = "vla_infoentropy_ros"


def share_directory() -> Path:
    """Return the folder that holds ``launch/``, ``config/`` and ``msg/``.

    In a source checkout that is the repository root, after ``pip install`` it is
    ``<prefix>/share/vla_infoentropy_ros``.
    """
    tried = []
    for candidate in _candidates():
        if (candidate / "package.xml").is_file() or (candidate / "msg").is_dir():
            return candidate
        tried.append(str(candidate))
    raise FileNotFoundError(
        f"The data files of {PACKAGE} were not found in {', '.join(tried)}. "
        f"Run from a source checkout, or reinstall with: pip install --force-reinstall {PACKAGE}"
    )


def _candidates() -> list[Path]:
    module_directory = Path(__file__).parent  # not resolved: it may be a link to a checkout
    candidates = [module_directory.parent]
    # <prefix>/lib/python3.x/site-packages/<package>: also right for --prefix and --target installs
    candidates += [parent / "share" / PACKAGE for parent in module_directory.parents[1:5]]
    candidates += [Path(sys.prefix) / "share" / PACKAGE]
    candidates += [Path(site.getuserbase()) / "share" / PACKAGE]
    return candidates
