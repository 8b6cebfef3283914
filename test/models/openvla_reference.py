# SPDX-License-Identifier: Apache-2.0
"""Runs OpenVLA's own published code on a checkpoint; started by test_openvla_oracle.py in an
interpreter that has the libraries that code was written for (transformers 4.40, timm 0.9)."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path


def _allow_any_torchvision() -> None:
    """A torchvision built for another torch lacks its compiled operators; none is used here, but
    importing it registers shapes for them."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms", "roi_align", "qroi_align", "roi_pool", "ps_roi_align",
                 "ps_roi_pool", "deform_conv2d", "_roi_align_backward", "_roi_pool_backward",
                 "_ps_roi_align_backward", "_ps_roi_pool_backward", "_deform_conv2d_backward"):
        library.define(f"{name}(Tensor x) -> Tensor")
    globals()["_library"] = library  # it unregisters when collected


def main(code: Path, checkpoint: Path, exchange: Path) -> None:
    """code: folder of prismatic/extern/hf. exchange: reads picture.npy and text.json, writes
    result.pt."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        _allow_any_torchvision()
    import numpy as np
    import timm
    import torch
    from PIL import Image
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location(
        "reference", code / "__init__.py", submodule_search_locations=[str(code)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["reference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["reference"])
    from reference.configuration_prismatic import OpenVLAConfig
    from reference.modeling_prismatic import OpenVLAForActionPrediction
    from reference.processing_prismatic import PrismaticImageProcessor

    raw = json.loads((checkpoint / "config.json").read_text())
    args = dict(zip(raw["timm_model_ids"], raw["timm_model_args"], strict=True))
    sizes, create = raw.pop("image_sizes"), timm.create_model

    def create_small(name: str, **options: object) -> torch.nn.Module:
        return create(name, **(options | {"img_size": sizes[0]} | args[name]))

    timm.create_model = create_small
    for name in ("model_type", "timm_model_ids", "timm_model_args", "timm_override_act_layers"):
        raw.pop(name)
    raw["text_config"].pop("model_type")
    model = OpenVLAForActionPrediction(OpenVLAConfig(**raw, attn_implementation="sdpa")).eval()
    missing, unexpected = model.load_state_dict(
        load_file(checkpoint / "model.safetensors"), strict=False
    )
    assert not unexpected and all("attn_pool" in name for name in missing), (missing, unexpected)

    processor = PrismaticImageProcessor(
        **json.loads((checkpoint / "preprocessor_config.json").read_text())
    )
    picture = Image.fromarray(np.load(exchange / "picture.npy"))
    pixels = processor(picture, return_tensors="pt")["pixel_values"]
    text = json.loads((exchange / "text.json").read_text())
    ids = torch.tensor([text["ids"]])
    captured: list[torch.Tensor] = []
    with torch.inference_mode():
        model.language_model.register_forward_hook(
            lambda module, args, output: captured.append(output.logits[0, -1])
        )
        features = model.vision_backbone(pixels)
        visual = model.projector(features)
        action = model.predict_action(
            ids, unnorm_key=text["key"], pixel_values=pixels, do_sample=False
        )
    torch.save({
        "pixels": pixels, "features": features, "visual": visual,
        "logits": torch.stack(captured), "action": torch.tensor(action),
    }, exchange / "result.pt")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
