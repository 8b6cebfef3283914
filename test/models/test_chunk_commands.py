# SPDX-License-Identifier: Apache-2.0
"""SmolVLA and pi0 by the commands ``replay`` and ``serve``: a folder and what it does not say."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from test.models.tiny_pi0 import write_transformers_pi0
from test.models.tiny_smolvla import STATE, write_tiny_smolvla
from test.serve.test_openvla import post, values
from vla_infoentropy_ros.replay import cli
from vla_infoentropy_ros.replay.bag_writer import RawMessage, write_bag
from vla_infoentropy_ros.replay.types import RAW_IMAGE, STRING, type_store
from vla_infoentropy_ros.serve.cli import _parser, make_server

WORDS = "pick up the red block"
JOINTS = [f"joint{i}" for i in range(STATE)]
JOINT_STATE = "sensor_msgs/msg/JointState"
WRITERS = pytest.mark.parametrize("write", [write_tiny_smolvla, write_transformers_pi0])


def loading(folder: Path) -> list[str]:
    return ["--model", str(folder), "--selector", "attention_drift",
            "--set", "selection.fresh_tokens=6",
            "--action-units", "si", "--trained-rotation", "rpy", "--control-period-s", "0.2",
            "--cameras", "top,wrist"]


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def recording(path: Path) -> Path:
    """Three moments of two cameras and the joints, the pictures standing still."""
    types, cdr = type_store().types, type_store().serialize_cdr

    def header(step: int):  # type: ignore[no-untyped-def]
        stamp = types["builtin_interfaces/msg/Time"](sec=step, nanosec=0)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")

    def picture(step: int, seed: int) -> bytes:
        return bytes(cdr(types[RAW_IMAGE](
            header=header(step), height=48, width=64, encoding="rgb8", is_bigendian=0, step=192,
            data=pixels(seed).ravel(),
        ), RAW_IMAGE))

    def joints(step: int) -> bytes:
        return bytes(cdr(types[JOINT_STATE](
            header=header(step), name=JOINTS, position=np.full(STATE, 0.1 * step),
            velocity=np.zeros(0), effort=np.zeros(0),
        ), JOINT_STATE))

    told = bytes(cdr(types[STRING](data=WORDS), STRING))
    messages = [RawMessage("/instruction", STRING, 10**9, told, latched=True)]
    for step in range(1, 4):
        at_ns = step * 10**9 + 10**6
        messages += [
            RawMessage("/joint_states", JOINT_STATE, at_ns, joints(step)),
            RawMessage("/wrist_image", RAW_IMAGE, at_ns + 1, picture(step, 10)),
            RawMessage("/image", RAW_IMAGE, at_ns + 2, picture(step, 0)),
        ]
    return write_bag(path, messages)


@contextmanager
def serving(arguments: list[str]) -> Iterator[Any]:
    """A server with these arguments, on a free port."""
    given = ["--protocol", "openvla", "--port", "0", *arguments]
    server = make_server(_parser().parse_args(given))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(5.0)


@WRITERS
def test_replay_takes_cameras_and_state_from_a_bag(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    out = tmp_path / "out"
    arguments = [str(recording(tmp_path / "bag")), *loading(write(tmp_path / "tiny")),
                 "--compare", "dense", "--image-topic", "/image", "--image-topic", "/wrist_image",
                 "--state-source", "joint_states", "--state-joints", ",".join(JOINTS),
                 "--out", str(out)]
    assert cli.main(arguments) == 0
    found = json.loads((out / "replay.json").read_text())
    assert found["images"]["used"] == 3 and found["variants"]["attention_drift"]["steps"] == 3
    assert not any("reuses nothing" in note for note in found["notes"])
    (difference,) = found["differences"]
    assert (difference["ours"], difference["base"]) == ("attention_drift", "dense")


def test_a_budget_of_every_token_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default, 64 tokens a view, is of larger pictures than the 16 of this checkpoint."""
    usual = [given for given in loading(write_tiny_smolvla(tmp_path / "tiny"))
             if given not in ("--set", "selection.fresh_tokens=6")]
    with serving(usual):
        pass
    assert "attention_drift recomputes all of them and reuses nothing" in capsys.readouterr().err


@WRITERS
def test_a_server_answers_pictures_and_a_state(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    with serving(loading(write(tmp_path / "tiny"))) as server:
        pictures = {
            name: {"__numpy__": base64.b64encode(pixels(seed).tobytes()).decode(), "dtype": "|u1",
                   "shape": [48, 64, 3]} for name, seed in (("image", 0), ("wrist_image", 10))
        }
        asked = pictures | {"instruction": WORDS, "state": [0.1] * STATE}
        status, reply = post(server.port, "/act?session=a", asked)
        assert status == 200 and values(reply).shape == (7,) and values(reply).any()
        status, reply = post(server.port, "/act?session=a", pictures | {"instruction": WORDS})
        assert status == 400 and "needs the robot's state, 8 numbers" in reply["error"]
