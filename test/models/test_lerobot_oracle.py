# SPDX-License-Identifier: Apache-2.0
"""SmolVLA and pi0 against LeRobot itself, where an environment of it is named by LEROBOT_PYTHON.

    LEROBOT_PYTHON=/path/to/venv/bin/python python -m pytest test/models/test_lerobot_oracle.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from test.models.tiny_pi0 import EXPERT, LAYERS, TEXT, TOWER, tiny_variants, write_lerobot_pi0
from test.models.tiny_smolvla import CAMERAS, METRES, VOCABULARY, write_tiny_smolvla
from vla_infoentropy_ros.models.lerobot.policy import ChunkPolicy
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.selection import build_selector
from vla_infoentropy_ros.session import Session

PYTHON = os.environ.get("LEROBOT_PYTHON", "")
ORACLE = Path(__file__).with_name("lerobot_oracle.py")
WORDS = "pick up the red block"

pytestmark = pytest.mark.skipif(
    not PYTHON, reason="LEROBOT_PYTHON names no environment with lerobot 0.4.4"
)


@pytest.mark.parametrize(("cameras", "settings"), [
    (CAMERAS, {}), (CAMERAS[:1], {}), (CAMERAS, {"pad_language_to": "longest"}),
    ((*CAMERAS, "observation.images.side"), {}), (CAMERAS, {"attention_mode": "self_attn"}),
    (CAMERAS, {"self_attn_every_n_layers": 0}), (CAMERAS, {"self_attn_every_n_layers": 3}),
])
def test_a_full_plan_is_lerobots_chunk(
    tmp_path: Path, cameras: tuple[str, ...], settings: dict[str, object]
) -> None:
    """From camera pictures of another shape to un-normalised actions, processors included."""
    compare(write_tiny_smolvla(tmp_path / "tiny", cameras=cameras, **settings), tmp_path, 48)


@pytest.mark.parametrize("cameras", [
    CAMERAS, CAMERAS[:1], (*CAMERAS, "observation.images.empty_camera_0"),
    (*CAMERAS, "observation.images.side"),
])
def test_a_full_plan_of_pi0_is_lerobots_chunk(tmp_path: Path, cameras: tuple[str, ...]) -> None:
    """Square pictures: its release 0.4 fills bars with a number outside of a picture's."""
    folder = write_lerobot_pi0(tmp_path / "tiny", cameras=cameras)
    sizes = {
        name: {"width": each.width, "depth": LAYERS, "mlp_dim": each.mlp_width,
               "num_heads": each.heads, "num_kv_heads": each.key_heads, "head_dim": each.head_width}
        for name, each in (("gemma_2b", TEXT), ("gemma_300m", EXPERT))
    }
    vision = TOWER | {"projection_dim": TEXT.width}
    (folder / "tiny_sizes.json").write_text(
        json.dumps(sizes | {"vocabulary": VOCABULARY, "vision": vision})
    )
    with tiny_variants():
        compare(folder, tmp_path, 64)


def compare(folder: Path, tmp_path: Path, height: int) -> None:
    policy = load_policy(str(folder), METRES, progress=False)
    assert isinstance(policy, ChunkPolicy)
    rng, cameras = np.random.default_rng(1), policy.camera_names
    images = [rng.integers(0, 256, (height, 64, 3), dtype=np.uint8) for _ in cameras]
    state = policy.proprioception.offset + rng.normal(size=policy.proprioception.size)
    np.savez(
        tmp_path / "seen.npz", task=np.array(WORDS), noise=policy.flow.noise(0).numpy(),
        **{"observation.state": state}, **dict(zip(cameras, images, strict=True)),
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [PYTHON, ORACLE, folder, tmp_path / "seen.npz", tmp_path / "chunk.npy"],
        env=environment | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = np.load(tmp_path / "chunk.npy").astype(np.float64)
    theirs[:, 6] = np.clip(theirs[:, 6], 0.0, 1.0)
    session = Session(policy, build_selector("dense"))
    session.set_instruction(WORDS)
    ours = session.step(images, state=state).action.chunk
    print(f"largest difference {np.abs(ours - theirs).max():.2e}")
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
