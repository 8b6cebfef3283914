# SPDX-License-Identifier: Apache-2.0
import pytest

from vla_infoentropy_ros.__main__ import COMMANDS, main
from vla_infoentropy_ros.bench import BENCHES


@pytest.mark.parametrize("name", [*COMMANDS, *(f"bench {name}" for name in BENCHES)])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([*name.split(), "--help"])
    except SystemExit as end:  # as argparse does
        code = end.code
    told = capsys.readouterr().out
    assert not code and told.startswith(f"usage: python -m vla_infoentropy_ros {name}"), told


def test_a_misspelt_command_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relpay", "bag"]) == 2
    assert "unknown command 'relpay'; did you mean replay?" in capsys.readouterr().out
