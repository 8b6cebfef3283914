# SPDX-License-Identifier: Apache-2.0
"""SmolVLA against LeRobot itself, where an environment of it is named by LEROBOT_PYTHON.

    LEROBOT_PYTHON=/path/to/venv/bin/python python -m pytest test/models/test_smolvla_oracle.py
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from test.models.tiny_smolvla import CAMERAS, METRES, write_tiny_smolvla
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.models.smolvla.policy import SmolVLAPolicy
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
    folder = write_tiny_smolvla(tmp_path / "tiny", cameras=cameras, **settings)
    policy = load_policy(str(folder), METRES, progress=False)
    assert isinstance(policy, SmolVLAPolicy)
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in cameras]
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
