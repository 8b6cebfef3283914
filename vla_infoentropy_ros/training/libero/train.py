# SPDX-License-Identifier: Apache-2.0
"""The run: from random weights, or from where it was stopped."""

from __future__ import annotations

import copy
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.models.embedded.policy import normalise_pixels
from vla_infoentropy_ros.models.embedded.weights_file import write_text, write_weights
from vla_infoentropy_ros.models.environment import parse_device
from vla_infoentropy_ros.training.libero.losses import GroundingHeads, total_loss
from vla_infoentropy_ros.training.libero.pictures import Batch, Pictures
from vla_infoentropy_ros.training.libero.recipe import Recipe
from vla_infoentropy_ros.training.packing import packed_forward
from vla_infoentropy_ros.training.precision import mixed_precision
from vla_infoentropy_ros.training.record import describe_machine
from vla_infoentropy_ros.training.train import parameter_groups

ACTIONS = 7
CURVE_EVERY = 50
SAVE_S = 15.0


class RunError(UserError, ValueError):
    """A run cannot begin or go on as asked."""


class Trainer:
    """output: folder of weights, ``policy.json``, ``training.json`` with the curve, and the state
    from which a stopped run goes on (``state.pt``). begin: folder of a policy whose weights are
    the first ones, instead of random ones."""

    def __init__(self, recipe: Recipe, data: Path, output: Path, revision: str,
                 device: str = "cpu", begin: Path | None = None) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.output, self.device = recipe, output, parse_device(device)
        self.policy = EmbeddedPolicy(recipe.policy_config(revision))
        if begin is not None:
            self.policy.network.load_state_dict(_weights(begin, self.policy))
        self.policy.network.to(self.device).train()
        self.heads = GroundingHeads(recipe.architecture.width).to(self.device)
        self.average = copy.deepcopy(self.policy.network)
        self.pictures = Pictures(data, lambda text: self.policy.tokenize(text).token_ids,
                                 self.device)
        if not len(self.pictures):
            raise RunError(f"{data} holds no shards; collect some first")
        self.generator = torch.Generator(self.device).manual_seed(recipe.seed)
        self._edges = torch.from_numpy(
            np.linspace(-1.0, 1.0, self.policy.codec.bins)).to(self.device)
        self.optimiser = torch.optim.AdamW(
            parameter_groups([self.policy.network, self.heads], recipe.weight_decay),
            lr=recipe.rate, betas=(0.9, 0.98),
        )
        self.step = 0
        self._begun = time.monotonic()  # or when it was last saved
        self.record: dict[str, Any] = {
            "revision": revision, "recipe": recipe.record(), "machine": describe_machine(),
            "parameters": sum(p.numel() for p in self.policy.network.parameters()), "curve": [],
            "train_s": 0.0, "began_with": begin and EmbeddedPolicy.load(begin).revision,
        }

    def run(self) -> None:
        """Train to the recipe's last step, saving as it goes."""
        if self._state.exists():
            self._restore()
        history: list[dict[str, torch.Tensor]] = []
        self._begun = time.monotonic()
        with tqdm(initial=self.step, unit="step", mininterval=30.0) as bar:
            while self._progress() < 1.0:
                if self.step % self.recipe.rescan == 0:
                    self.pictures.scan(wait=False)
                history.append(self.update())
                self.step += 1
                bar.update()
                if self.step % CURVE_EVERY == 0:
                    bar.set_postfix(self._note(history))
                    history.clear()
                if time.monotonic() - self._begun > SAVE_S:
                    self.save()
        self.save()

    def update(self) -> dict[str, torch.Tensor]:
        """One step of the optimiser; the parts of its loss."""
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        batch = self.pictures.batch(self.generator, recipe.batch, recipe.goals)
        batch = batch.shifted(recipe.shift, self.generator)
        sparse = self._progress() < recipe.sparse
        with mixed_precision(self.device.type):
            loss, parts = self._loss(batch, self._keep(batch) if sparse else None)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.policy.network.parameters(), 1.0)
        self.optimiser.step()
        # A short memory at first: the average must not carry the random start along.
        decay = min(recipe.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()),
                                 list(self.policy.network.parameters()), 1 - decay)
        return parts

    def save(self) -> None:
        """Averaged weights, configuration, record and state."""
        now = time.monotonic()
        self.record["train_s"] = self.record["train_s"] + now - self._begun
        self._begun = now
        revision = self.policy.config.revision
        write_weights(self.output / "policy.safetensors", self.average, revision)
        write_text(self.output / "policy.json", self.policy.config.dump())
        write_text(self.output / "training.json", json.dumps(self.record, indent=1) + "\n")
        part = self._state.with_suffix(".part")
        torch.save({"step": self.step, "record": self.record,
                    "generator": self.generator.get_state(),
                    **{name: module.state_dict() for name, module in self._modules().items()}},
                   part)
        part.replace(self._state)

    def _note(self, history: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        """Means of the parts, in the record too."""
        mean = {name: round(float(torch.stack([each[name] for each in history]).mean()), 4)
                for name in history[0]}
        self.record["curve"].append({"step": self.step, "pictures": len(self.pictures), **mean})
        return mean

    def _loss(self, batch: Batch,
              keep: torch.Tensor | None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Prompts differ in length, so actions follow at once and the padding comes last, where
        nobody looks at it."""
        longest = batch.prompts.shape[-1]
        actions = self._encode(batch.targets[..., : ACTIONS - 1])
        suffixes = torch.zeros(*batch.prompts.shape[:2], longest + ACTIONS - 1, dtype=torch.int64,
                               device=self.device)
        suffixes[..., :longest] = batch.prompts
        places = batch.lengths[..., None] + torch.arange(ACTIONS - 1, device=self.device)
        suffixes.scatter_(-1, places, actions)
        packed = packed_forward(self.policy, self._pixels(batch.images), suffixes, None, keep)
        asked = batch.lengths[..., None] - 1 + torch.arange(ACTIONS, device=self.device)
        width = packed.hidden.shape[-1]
        hidden = packed.hidden.gather(2, asked[..., None].expand(-1, -1, -1, width))
        return total_loss(self.policy.decoder.lm_head(hidden), packed.visual, hidden[:, :, 0],
                          batch, self.heads, self.policy.codec, self.recipe.sigma_bins,
                          self.recipe.grounding)

    def _encode(self, values: torch.Tensor) -> torch.Tensor:
        """As the policy's codec, without leaving the device."""
        codec = self.policy.codec
        index = torch.bucketize(values.double().clamp(-1.0, 1.0), self._edges, right=True) - 1
        return codec.vocab_size - 1 - index.clamp(0, codec.bins - 2)

    def _pixels(self, images: torch.Tensor) -> torch.Tensor:
        """With small changes of exposure and white balance, so that these do not matter."""
        gain = torch.rand(len(images), 3, 1, 1, generator=self.generator, device=self.device)
        pixels = normalise_pixels(images)
        return ((pixels + 1.0) * (0.92 + 0.16 * gain) - 1.0).clamp_(-1.0, 1.0)

    def _keep(self, batch: Batch) -> torch.Tensor:
        """Visual tokens (B, keep) near what is meant and near the hand, the rest at random."""
        side = self.recipe.architecture.side
        line = (torch.arange(side, device=self.device) + 0.5) / side
        spots = torch.cat([batch.patches.flatten(1, 2), batch.hand[:, None]], dim=1)
        near = (line - spots[..., 1:2]).abs()[..., :, None].maximum(
            (line - spots[..., 0:1]).abs()[..., None, :])
        near = near.flatten(2).amin(dim=1) < 2.2 / side
        order = torch.rand(near.shape, generator=self.generator, device=self.device) + near
        return order.topk(self.recipe.keep, dim=1).indices.sort(dim=1).values

    def _rate(self) -> float:
        recipe = self.recipe
        fall = 0.5 * (1 + math.cos(math.pi * min(self._progress(), 1.0)))
        return recipe.rate * max(0.01, fall) * min(1.0, (self.step + 1) / recipe.warmup)

    def _progress(self) -> float:
        """Share of the run that is over, by its clock or its updates."""
        if self.recipe.seconds:
            trained: float = self.record["train_s"] + time.monotonic() - self._begun
            return trained / self.recipe.seconds
        return self.step / self.recipe.steps

    @property
    def _state(self) -> Path:
        return self.output / "state.pt"

    def _restore(self) -> None:
        stored = torch.load(self._state, weights_only=True, map_location=self.device)
        if stored["record"]["recipe"] != json.loads(json.dumps(self.recipe.record())):
            raise RunError(f"{self._state} is of another recipe; name another folder, or go on "
                           "with the recipe in training.json")
        if stored["record"]["began_with"] != self.record["began_with"]:
            raise RunError(f"{self._state} began with {stored['record']['began_with'] or 'nothing'}"
                           f", not with {self.record['began_with'] or 'nothing'}: give the --begin "
                           "that it was begun with, or name another folder")
        for name, module in self._modules().items():
            module.load_state_dict(stored[name])
        self.step, self.record = stored["step"], stored["record"]
        self.generator.set_state(stored["generator"].cpu())

    def _modules(self) -> dict[str, Any]:
        return {"network": self.policy.network, "average": self.average, "heads": self.heads,
                "optimiser": self.optimiser}


def _weights(folder: Path, policy: EmbeddedPolicy) -> dict[str, torch.Tensor]:
    """Of the policy in ``folder``. Raises RunError where it is another network."""
    begun = EmbeddedPolicy.load(folder)
    if (begun.config.architecture, begun.config.words) != (
            policy.config.architecture, policy.config.words):
        raise RunError(f"{folder} holds a network of another size or other words; begin with one "
                       "of this recipe, or without")
    return begun.network.state_dict()
