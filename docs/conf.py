# SPDX-License-Identifier: Apache-2.0
"""The documentation site: `make docs` builds it, and so does rosdoc2."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vla_infoentropy_ros.engine import requirements  # noqa: E402

project = "vla_infoentropy_ros"
author = "vla_infoentropy_ros maintainers"
project_copyright = "vla_infoentropy_ros maintainers, Apache-2.0"
release = re.findall("<version>(.+)</version>", (ROOT / "package.xml").read_text())[0]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]

myst_heading_anchors = 4

default_role = "literal"  # single backticks in docstrings are names
# For signatures and docstrings nothing is needed that computes, draws or speaks ROS.
autodoc_mock_imports = ["PIL", "cv2", "safetensors", "torch", "tqdm", "transformers"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "undoc-members": True}


def setup(app: Any) -> None:
    """Called by Sphinx."""
    requirements.check_transformers = lambda: None  # it is not there, and nothing is to run
    app.connect("autodoc-process-docstring", _as_written)


def _as_written(app: Any, what: str, name: str, owner: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are sentences with `names` in them: nothing else in them is markup."""
    for at, line in enumerate(lines):
        pieces = re.split(r"(``.+?``|`.+?`)", line)
        pieces[::2] = [re.sub(r"([*|])|(?<=\w)_(?!\w)", r"\\\g<0>", piece) for piece in pieces[::2]]
        lines[at] = "".join(pieces)
