# SPDX-License-Identifier: Apache-2.0
"""Set-up installs nothing outside its own folder without being told, and goes on from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from test.docs import shell

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"


@pytest.mark.parametrize(("told", "installs"), [("", False), ("yes", False), ("install", True)])
def test_system_packages_are_installed_only_when_told(
    tmp_path: Path, told: str, installs: bool
) -> None:
    for name in ("apt-get", "sudo"):
        stand_in = tmp_path / name
        stand_in.write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/called\n')
        stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}",
                   "SYSTEM_PACKAGES": told}
    done = subprocess.run(["sh", str(SCRIPTS / "check_system.sh"), "/bin/false"], env=environment,
                          check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "sudo apt-get install libegl1" in done.stderr
    assert (tmp_path / "called").exists() == installs


def test_an_environment_without_pip_is_made_again(tmp_path: Path) -> None:
    """What an interrupted set-up leaves."""
    venv, log = tmp_path / "venv", tmp_path / "called"

    def program(path: Path, pip: int) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'#!/bin/sh\necho "{path.name} $*" >> {log}\n'
            f'case "$*" in "-m pip --version") exit {pip};; '
            f'"-m venv {venv}") cp {tmp_path}/whole {venv}/bin/python;; esac\n'
        )
        path.chmod(0o755)
        return path

    program(tmp_path / "whole", pip=0)
    program(venv / "bin" / "python", pip=1)
    environment = {**os.environ, "PYTHON": str(program(tmp_path / "system", pip=1))}
    for _ in range(2):
        subprocess.run(["sh", str(SCRIPTS / "setup_venv.sh"), str(venv)], env=environment,
                       check=True, capture_output=True)
    made = [line for line in log.read_text().splitlines() if "-m venv" in line]
    assert made == [f"system -m venv {venv}"], "once"
    assert log.read_text().count("whole -m vla_infoentropy_ros.ros_setup") == 2


@pytest.mark.parametrize(("model", "folder"), [
    ("", "out/libero"), ("embedded_libero", "out/libero"),
    ("runs/a b", "out/libero-runs_a_b"), ("own_model:load", "out/libero-own_model_load"),
    ("expert", "out/libero/expert.jsonl"),
])
def test_each_policy_plays_libero_into_a_folder_of_its_own(
    tmp_path: Path, model: str, folder: str
) -> None:
    venv, called = tmp_path / "venv", tmp_path / "called"
    python = venv / "bin" / "python"
    python.parent.mkdir(parents=True)
    (venv / ".ready").touch()
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || printf "%s\\n" "$@" > {called}\n')
    python.chmod(0o755)
    subprocess.run(["sh", str(SCRIPTS / "libero.sh"), "python3", str(venv), model], cwd=ROOT,
                   env=os.environ | {"PACKAGE_PYTHON": str(python)}, check=True, timeout=60)
    words = called.read_text().splitlines()
    assert folder in words and (model in words or model in ("", "expert"))
    shell.judge(["python", *words])


def test_a_mutant_is_what_the_tests_run() -> None:
    """One that a test sees is killed, one that none can see survives."""
    asked = """
import torch, transformers.models.llama.modeling_llama  # once, for both
import mutate
path = mutate.ROOT / "vla_infoentropy_ros/engine/layout.py"
source = path.read_text()
for changed in source.replace("<= order[:, None]", "< order[:, None]"), source + "# the end":
    mutant = mutate.Mutant(path, 1, "", "", changed)
    print(mutate.survives(mutant, ["test/engine/test_layout.py"], 300.0), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, check=True, text=True,
                          capture_output=True,
                          env={**os.environ, "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"})
    assert done.stdout.split() == ["False", "True"]
