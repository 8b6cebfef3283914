# SPDX-License-Identifier: Apache-2.0
"""What is not installed is one sentence, with what to install."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from test.trees import SOURCE, child_path
from vla_infoentropy_ros.extras import EXTRAS, missing


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of this package where a module is not installed."""
    code = (f"import sys; sys.modules[{module!r}] = None\n"
            "from vla_infoentropy_ros.__main__ import main\n"
            f"sys.exit(main({list(arguments)!r}))")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"PYTHONPATH": child_path()})


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [("rosbags", ["replay", "x.mcap"], "bags"), ("websockets", ["serve", "--port", "0"], "serve")],
)
def test_a_missing_extra_is_one_sentence(module: str, arguments: list[str], extra: str) -> None:
    ended = without(module, *arguments)
    assert ended.returncode == 1
    remedy = f"pip install 'vla_infoentropy_ros[{extra}]'"
    assert ended.stderr == f"error: this needs the Python package {module!r}: {remedy}\n"


def test_extras_are_those_of_the_package() -> None:
    setup = (SOURCE / "setup.py").read_text(encoding="utf-8")
    for extra, modules in EXTRAS.items():
        (wanted,) = re.findall(rf'"{extra}": \[(.*?)\]', setup, re.DOTALL)
        assert set(re.findall(r'"([\w-]+)[><=]', wanted)) == set(modules), extra


@pytest.mark.parametrize(
    ("name", "told"),
    [("mujoco.viewer", r"\[sim\]"), ("distributed", r"\[distributed\]"),
     ("numpy", "--force-reinstall")],
)
def test_each_module_has_its_remedy(name: str, told: str) -> None:
    assert re.search(told, missing(ModuleNotFoundError(name=name)))
