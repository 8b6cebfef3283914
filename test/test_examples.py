# SPDX-License-Identifier: Apache-2.0
"""Examples stay short, and run from outside of the package, as a package of somebody else's."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from test.trees import child_path
from vla_infoentropy_ros import cuttest, selftest
from vla_infoentropy_ros.bench import steps
from vla_infoentropy_ros.demo import cli as demo
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.replay.cli import main as replay
from vla_infoentropy_ros.selection import SelectionSettings, build_selector, plugins
from vla_infoentropy_ros.session import Session
from vla_infoentropy_ros.share import share_directory

EXAMPLES = Path(__file__).parents[1] / "examples"
BAG = Path(__file__).parent / "data" / "bags" / "bridge_ep00_mcap"
TOPIC = "/bridge/image_0/compressed"
MODEL = ["--model", "own_model:load"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as pip makes it, of a package that holds the examples."""
    folder = tmp_path / "site"
    shutil.copytree(EXAMPLES, folder)
    info = folder / "own_examples-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-examples\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{plugins.GROUP}]\ncheckerboard = own_selector:Checkerboard\n"
    )
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In this process."""
    monkeypatch.syspath_prepend(str(site))
    plugins.forget()
    yield
    plugins.forget()
    for name in ("own_model", "own_selector"):
        sys.modules.pop(name, None)


def started(site: Path, *command: str) -> subprocess.Popen[str]:
    """A child in another folder, whose output is one stream."""
    return subprocess.Popen(
        [sys.executable, *command], cwd=site.parent, text=True,
        env=os.environ | {"PYTHONPATH": child_path(site)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def until(child: subprocess.Popen[str], text: str) -> list[str]:
    """Its lines up to the one with this text."""
    lines: list[str] = []
    assert child.stdout is not None
    for line in child.stdout:
        lines.append(line)
        if text in line:
            return lines
    pytest.fail(f"{text!r} was not said:\n{''.join(lines)}")


def ended(child: subprocess.Popen[str]) -> int:
    child.send_signal(signal.SIGINT)
    try:
        return child.wait(60)
    finally:
        child.kill()
        assert child.stdout is not None
        child.stdout.close()


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 65


@pytest.mark.usefixtures("installed")
def test_a_model_of_ones_own_runs_with_reuse() -> None:
    settings = SelectionSettings(fresh_tokens=4, reuse_from_layer=0)
    session = Session(load_policy("own_model:load"), build_selector("attention_drift", "linear",
                                                                    settings))
    session.set_instruction("open the box")
    rng = np.random.default_rng(0)
    fresh = [
        session.step([rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)]).report.fresh
        for _ in range(3)
    ]
    assert fresh == [16, 4, 4]


@pytest.mark.usefixtures("installed")
def test_every_command_knows_a_model_and_a_selector_of_ones_own(
    capsys: pytest.CaptureFixture[str]
) -> None:
    assert selftest.main([*MODEL, "--instruction", "open the box"]) == 0
    assert cuttest.main([*MODEL, "--frames", "2", "--instruction", "open the box"]) == 0
    assert "own (random): 2 frames, 1 x 16 image rows" in capsys.readouterr().out
    arguments = [str(BAG), "--image-topic", TOPIC, "--selector", "checkerboard", *MODEL]
    arguments += ["--compare", "dense", "--instruction", "open the box", "--every", "4"]
    assert replay(arguments) == 0
    told = capsys.readouterr().out
    assert "checkerboard against dense" in told and "policy own random" in told
    assert steps.main([*MODEL, "--selectors", "dense", "checkerboard", "--episodes", "1"]) == 0
    assert "checkerboard+window" in capsys.readouterr().out
    assert demo._selectors("dense,checkerboard+window") == ("dense", "checkerboard+window")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("command", ["replay", "steps"])
def test_an_unknown_selector_gets_the_list(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == "replay":
        assert replay([str(BAG), "--selector", "chess"]) == 1
    else:
        with pytest.raises(SystemExit):
            steps.main(["--selectors", "chess"])
    assert "selector='chess' is not among dense, " in (told := capsys.readouterr().err)
    assert "stale, checkerboard" in told


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("name", "told"), [
    ("chekerboard", "; did you mean checkerboard?"),
    ("atention_drift+window", "; did you mean attention_drift?"),
    ("attention_drift+windov", "decode 'windov' is not among greedy, window; did you mean window?"),
])
def test_a_misspelt_selector_is_recognised(name: str, told: str) -> None:
    with pytest.raises(SettingError, match=re.escape(told)):
        PolicyNodeSettings.from_values({"selector": name})


def test_a_robot_a_model_and_a_selector_of_ones_own_are_launched(site: Path) -> None:
    """The node says what is in force, and where from."""
    child = started(
        site, "-m", "vla_infoentropy_ros.launch_runner",
        str(share_directory() / "launch" / "vla.launch.xml"), "model:=own_model:load",
        "selector:=checkerboard+window", f"robot_file:={site / 'own_robot.yaml'}",
    )  # fmt: skip
    try:
        lines = until(child, "policy own random")
    finally:
        assert ended(child) == 0
    told = "".join(lines)
    assert "model own_model:load (launch argument), selector checkerboard (launch arg" in told
    assert "own_robot.yaml: max_linear_speed 0.1, max_angular_speed 0.6" in told


def test_a_robot_of_ones_own_says_what_a_robot_must() -> None:
    def names(path: Path) -> set[str]:
        return set(yaml.safe_load(path.read_text())["/**"]["ros__parameters"])

    theirs = names(share_directory() / "config" / "robots" / "other.yaml")
    assert names(EXAMPLES / "own_robot.yaml") == theirs


def test_a_client_is_served_a_model_of_ones_own(site: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(picture).save(site / "a.png")
    server = started(site, "-m", "vla_infoentropy_ros", "serve", "--protocol", "openvla",
                     "--port", "0", *MODEL, "--selector", "checkerboard")
    try:
        port = until(server, "openvla on ")[-1].rpartition(":")[2].strip()
        client = started(site, str(site / "serve_client.py"), f"http://127.0.0.1:{port}", "open it",
                         str(site / "a.png"), str(site / "a.png"))
        told, _ = client.communicate(timeout=60)
        assert client.returncode == 0, told
        assert told.count("a.png [") == 2
    finally:
        ended(server)


def asking(site: Path, address: str, picture: str) -> str:
    """What a client is told that has to give up."""
    client = started(site, str(site / "serve_client.py"), address, "go", picture)
    told, _ = client.communicate(timeout=60)
    assert client.returncode == 1 and told.count("\n") == 1, told
    return told


def test_a_client_without_a_server_or_a_picture_is_told(site: Path) -> None:
    Image.new("RGB", (8, 8)).save(site / "a.png")
    address = "http://127.0.0.1:9"
    told = asking(site, address, str(site / "a.png"))
    assert told.startswith(f"no answer from {address}: ") and "Connection refused" in told
    assert asking(site, address, "no.png").startswith("no picture: [Errno 2] No such file")
    (site / "no.png").write_text("none")
    assert "cannot identify image file" in asking(site, address, str(site / "no.png"))


def test_a_client_whose_server_goes_is_told(site: Path) -> None:
    Image.new("RGB", (8, 8)).save(site / "a.png")
    with socket.create_server(("127.0.0.1", 0)) as server:
        def go() -> None:
            peer, _ = server.accept()
            peer.recv(65536)
            peer.close()

        going = threading.Thread(target=go, daemon=True)
        going.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        told = asking(site, address, str(site / "a.png"))
        assert told.startswith(f"no answer from {address}: ")
        going.join(10)


@pytest.mark.parametrize("absent", ["numpy", "PIL"])
def test_a_client_copied_without_what_it_needs_is_told(site: Path, absent: str) -> None:
    code = (f"import runpy, sys; sys.modules[{absent!r}] = None; "
            "runpy.run_path('site/serve_client.py', run_name='__main__')")
    child = started(site, "-c", code)
    told, _ = child.communicate(timeout=60)
    assert (child.returncode, told) == (
        1, "this needs two Python packages: pip install numpy pillow\n")


def test_a_model_of_ones_own_takes_its_options(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told_model.py").write_text(
        "from own_model import OwnPolicy\n\ndef load(text, options):\n    policy = OwnPolicy()\n"
        "    policy.revision = f'{text} on {options.device}'\n    return policy\n"
    )
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.syspath_prepend(str(tmp_path))
    policy = load_policy("told_model:load:/my/weights:7", LoadOptions(device="cpu"))
    assert policy.revision == "/my/weights:7 on cpu"
