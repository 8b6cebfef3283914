# SPDX-License-Identifier: Apache-2.0
"""A learner answers many at once with what it answers each alone, and with its newest weights."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_infoentropy_ros.driving.images import RawPicture
from vla_infoentropy_ros.libero.client import PolicyClient, PolicyGone
from vla_infoentropy_ros.libero.suites import INSTRUCTIONS
from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.models.embedded.weights_file import write_text, write_weights
from vla_infoentropy_ros.serve.access import Access
from vla_infoentropy_ros.serve.vla_eval import VlaEvalServer
from vla_infoentropy_ros.training.libero import learner as module
from vla_infoentropy_ros.training.libero.learner import Learner, act_together

from .test_run import untrained

TOLD = (INSTRUCTIONS[0], INSTRUCTIONS[3], INSTRUCTIONS[14])  # of different lengths


def made(folder: Path, seed: int) -> EmbeddedPolicy:
    """A policy with random weights, written to ``folder``."""
    torch.manual_seed(seed)
    policy = untrained()
    write_weights(folder / "policy.safetensors", policy.network, "made-up")
    write_text(folder / "policy.json", policy.config.dump())
    return EmbeddedPolicy.load(folder)


def pictures() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)


def seen(picture: np.ndarray) -> dict[str, np.ndarray]:
    return {"agentview": picture}


def test_together_is_as_alone(tmp_path: Path) -> None:
    policy, images = made(tmp_path, 1), pictures()
    prompts = [policy.tokenize(text).token_ids for text in TOLD]
    together = act_together(policy, torch.from_numpy(images), prompts)
    for image, text, row in zip(images, TOLD, together.tolist(), strict=True):
        assert tuple(row) == policy.act(image, text).token_ids


def test_simulators_are_served_and_new_weights_are_read(tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_S", 0.0)
    policy, images = made(tmp_path, 1), pictures()
    learner = Learner(tmp_path)
    server = VlaEvalServer(learner, Access("127.0.0.1"), 0)
    threading.Thread(target=learner.answer_forever, daemon=True).start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    clients = [PolicyClient(f"ws://127.0.0.1:{server.port}") for _ in TOLD]
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(PolicyClient.act, clients, map(seen, images), TOLD))
    for image, text, answer in zip(images, TOLD, answers, strict=True):
        assert np.allclose(answer, learner.form.write(policy.act(image, text)))
    time.sleep(0.02)  # a file's time has steps
    other = made(tmp_path, 2)
    assert np.allclose(clients[0].act(seen(images[0]), TOLD[0]),
                       learner.form.write(other.act(images[0], TOLD[0])))
    with pytest.raises(PolicyGone, match="does not know"):
        clients[1].act(seen(images[1]), "juggle")
    for client in clients:
        client.close()
    server.close()


def test_whoever_is_answered_together_hears_what_went_wrong(tmp_path: Path) -> None:
    made(tmp_path, 1)
    learner = Learner(tmp_path)
    threading.Thread(target=learner.answer_forever, daemon=True).start()
    learner._looked, learner._read = 0.0, 0.0
    (tmp_path / "policy.safetensors").write_bytes(b"nothing")
    picture = RawPicture("rgb8", 224, 224, 3 * 224, pictures()[0].tobytes())
    with pytest.raises(ValueError, match=r"policy\.safetensors"):
        learner.ask([picture], TOLD[0])
