# SPDX-License-Identifier: Apache-2.0
"""Set-up installs nothing outside its own folder without being told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_system.sh"


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
    done = subprocess.run(["sh", str(SCRIPT), "/bin/false"], env=environment, check=False,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "sudo apt-get install libegl1" in done.stderr
    assert (tmp_path / "called").exists() == installs
