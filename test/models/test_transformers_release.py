# SPDX-License-Identifier: Apache-2.0
"""A release of transformers that cannot be used is named in one sentence, wherever one enters."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from test.trees import SOURCE, child_path
from vla_infoentropy_ros.engine import requirements
from vla_infoentropy_ros.engine.requirements import (
    RequirementError,
    check_transformers,
    warn_if_untested,
)

SENTENCE = (
    'transformers 4.40.1 is installed, but >=5.10,<6 is needed (5.10 up to 5.24 are tested); '
    'install a supported one: pip install "transformers>=5.10,<6"'
)


@pytest.mark.parametrize("version", ["5.10.0", "5.23.0", "5.24.0.dev0", "5.10.0rc1"])
def test_supported(version: str) -> None:
    check_transformers(version)


@pytest.mark.parametrize("version", ["4.57.1", "5.9.9", "6.0.0", "main", "5"])
def test_unsupported(version: str) -> None:
    with pytest.raises(RequirementError, match=version) as caught:
        check_transformers(version)
    assert 'pip install "transformers>=5.10,<6"' in str(caught.value)


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise requirements.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(requirements.metadata, "version", missing)
    with pytest.raises(RequirementError, match="not installed; install a supported one"):
        check_transformers()


def test_untested_warns() -> None:
    with pytest.warns(UserWarning, match="5.31.0 is untested"):
        warn_if_untested("5.31.0")


def test_the_range_is_that_of_setup_py() -> None:
    text = (SOURCE / "setup.py").read_text(encoding="utf-8")
    assert re.findall(r'"transformers(.*)"', text) == [requirements._specifier()]


# What 4.40.1 offers of the names used here, and a release that fails on its own imports.
OLD = "class LlamaConfig: pass\nclass LlamaForCausalLM: pass\n"
BROKEN = "raise ImportError('huggingface-hub<1.0 is required')\n"


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with a transformers 4.40.1, for the front of sys.path."""
    folders = {}
    for code in (OLD, BROKEN):
        folder = folders[code] = tmp_path_factory.mktemp("stub")
        (folder / "transformers").mkdir()
        (folder / "transformers" / "__init__.py").write_text(code)
        meta = folder / "transformers-4.40.1.dist-info" / "METADATA"
        meta.parent.mkdir()
        meta.write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 4.40.1\n")
    return folders


def _python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": child_path(folder), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("command", [
    ("selftest",), ("replay", "no_such_bag"), ("bench", "steps"), ("bench", "flops"), ("demo",),
])
def test_commands_say_it_and_nothing_else(
    stubs: dict[str, Path], command: tuple[str, ...]
) -> None:
    done = _python(stubs[BROKEN], "-m", "vla_infoentropy_ros", *command)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {SENTENCE}\n")


def test_the_list_of_commands_needs_no_library(stubs: dict[str, Path]) -> None:
    done = _python(stubs[BROKEN], "-m", "vla_infoentropy_ros", "--help")
    assert done.returncode == 0 and "selftest" in done.stdout


@pytest.mark.parametrize(("module", "stub"), [
    ("nodes.policy_node", OLD), ("models.loading", BROKEN), ("replay.cli", BROKEN),
    ("engine.layer", OLD), ("session", OLD),
])
def test_modules_raise_it_before_any_other_error(
    stubs: dict[str, Path], module: str, stub: str
) -> None:
    code = (
        "from vla_infoentropy_ros.engine.requirements import RequirementError\n"
        f"try:\n    import vla_infoentropy_ros.{module}\n"
        "except RequirementError as error:\n    print(error)\n"
    )
    done = _python(stubs[stub], "-c", code)
    assert (done.stdout, done.returncode) == (SENTENCE + "\n", 0), done.stderr
