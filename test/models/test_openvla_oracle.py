# SPDX-License-Identifier: Apache-2.0
"""The slim module against the code that OpenVLA was published with. Both tests are optional.

timm alone suffices for the towers. For the whole policy, set OPENVLA_REFERENCE_PYTHON to an
interpreter with transformers 4.40.1, timm 0.9.16 and torchvision, and OPENVLA_REFERENCE_CODE to
the folder prismatic/extern/hf of github.com/openvla/openvla.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from test.models import openvla_reference
from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.openvla import load_openvla

PYTHON = os.environ.get("OPENVLA_REFERENCE_PYTHON", "")
CODE = os.environ.get("OPENVLA_REFERENCE_CODE", "")
REFERENCE = pytest.mark.skipif(
    not (PYTHON and CODE),
    reason="needs the reference code and its old libraries: OPENVLA_REFERENCE_PYTHON and _CODE",
)


@pytest.mark.parametrize("index", [0, 1])
def test_towers_equal_timm_bit_for_bit(tmp_path: Path, index: int) -> None:
    timm = pytest.importorskip("timm", reason="needs timm, the library of the published towers")
    folder = write_tiny_openvla(tmp_path, image_size=56)
    policy = load_openvla(folder, LoadOptions(unnorm_key="bridge_orig"), progress=False)
    backbone = policy.model.vision_backbone
    ours = (backbone.featurizer, backbone.fused_featurizer)[index]
    raw = json.loads((folder / "config.json").read_text())
    theirs = timm.create_model(
        raw["timm_model_ids"][index], pretrained=False, num_classes=0, img_size=56,
        **raw["timm_model_args"][index],
    ).eval()
    renamed = {
        name.replace("scale_factor", "gamma"): value for name, value in ours.state_dict().items()
    }
    assert not theirs.load_state_dict(renamed, strict=False).unexpected_keys
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = theirs.get_intermediate_layers(pixels, n={len(theirs.blocks) - 2})[0]
        assert torch.equal(ours(pixels), wanted)


def _published(
    folder: Path, exchange: Path, picture: np.ndarray, ids: list[int]
) -> dict[str, torch.Tensor]:
    """What the published code makes of a picture and a prompt."""
    assert ids[-1] == 29871  # left for the reference to append
    np.save(exchange / "picture.npy", picture)
    (exchange / "text.json").write_text(json.dumps({"ids": ids[:-1], "key": "bridge_orig"}))
    subprocess.run(
        [PYTHON, openvla_reference.__file__, CODE, str(folder), str(exchange)], check=True,
        env={**os.environ, "PYTHONPATH": ""}, timeout=300,
    )
    result: dict[str, torch.Tensor] = torch.load(exchange / "result.pt")
    return result


@REFERENCE
@pytest.mark.parametrize("strategy", ["resize-naive", "letterbox", "resize-crop"])
def test_pictures_become_square_as_in_the_published_processor(
    tmp_path: Path, strategy: str
) -> None:
    """From its arguments alone, so that what it makes of them is compared too."""
    folder = write_tiny_openvla(tmp_path / "openvla", image_size=56, vocab=32000)
    for name in ("config.json", "preprocessor_config.json"):
        said = json.loads((folder / name).read_text()) | {"image_resize_strategy": strategy}
        kept = {key: value for key, value in said.items() if not key.startswith("tvf_")}
        (folder / name).write_text(json.dumps(kept))
    policy = load_openvla(folder, LoadOptions(unnorm_key="bridge_orig"), progress=False)
    picture = np.random.default_rng(3).integers(0, 256, (60, 150, 3), np.uint8)
    ids = [policy.bos_token_id, *policy.tokenize("pick up the red block").token_ids.tolist()]
    wanted = _published(folder, tmp_path, picture, ids)["pixels"]
    level = 1 / 255 / torch.tensor([0.229, 0.224, 0.225, 0.5, 0.5, 0.5])[None, :, None, None]
    levels = ((policy.preprocess([picture]).pixels - wanted) / level).abs()
    assert levels.max() < 1.01, f"{strategy}: {levels.max()} grey levels apart"


@REFERENCE
@pytest.mark.parametrize(("image_size", "key_heads", "seed"), [(224, 4, 0), (56, 2, 1), (56, 4, 2)])
def test_whole_policy_equals_the_published_code(
    tmp_path: Path, image_size: int, key_heads: int, seed: int
) -> None:
    folder = write_tiny_openvla(
        tmp_path / "openvla", image_size=image_size, seed=seed,
        llama={"num_key_value_heads": key_heads}, vocab=32000,
    )
    policy = load_openvla(folder, LoadOptions(unnorm_key="bridge_orig"), progress=False)
    picture = np.random.default_rng(seed).integers(0, 256, (image_size, image_size, 3), np.uint8)
    prompt = policy.tokenize("pick up the red block")
    ids = [policy.bos_token_id, *prompt.token_ids.tolist()]
    wanted = _published(folder, tmp_path, picture, ids)

    seen = policy.preprocess([picture])
    assert torch.equal(seen.pixels, wanted["pixels"])
    with torch.inference_mode():
        assert torch.equal(policy.model.vision_backbone(seen.pixels), wanted["features"])
        visual = policy.embed_vision(seen.pixels)
        assert torch.equal(visual, wanted["visual"][0])
        embed = policy.decoder.model.embed_tokens
        rows = torch.cat([embed(torch.tensor(ids[:1])), visual, embed(torch.tensor(ids[1:]))])
        output = policy.decoder(inputs_embeds=rows[None], use_cache=True)
        logits = [output.logits[0, -1]]
        for _ in range(6):
            output = policy.decoder(
                input_ids=logits[-1].argmax()[None, None], past_key_values=output.past_key_values
            )
            logits.append(output.logits[0, -1])
    tokens = [int(row.argmax()) for row in logits]
    difference = (torch.stack(logits) - wanted["logits"]).abs().max()
    assert difference == 0.0, f"logits differ by {difference}"
    assert tokens == wanted["logits"].argmax(-1).tolist()
    action, reference = policy.decode_action(tokens).values, wanted["action"].numpy()
    assert np.allclose(action[:6], reference[:6], rtol=0, atol=1e-12)
    assert action[6] == pytest.approx(min(max(reference[6], 0.0), 1.0))
