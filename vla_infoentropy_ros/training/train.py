# SPDX-License-Identifier: Apache-2.0
"""The training run, from random weights to a checked policy."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from vla_infoentropy_ros.foreign.text import UserError, shown
from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.models.embedded.policy import normalise_pixels
from vla_infoentropy_ros.models.embedded.weights_file import SHIPPED, write_text, write_weights
from vla_infoentropy_ros.sim.tasks import Goal
from vla_infoentropy_ros.training.collect import collect_parallel
from vla_infoentropy_ros.training.config import Recipe, Stage
from vla_infoentropy_ros.training.evaluate import evaluate
from vla_infoentropy_ros.training.frames import (
    CUBES,
    GOALS,
    PLATES,
    Frames,
    patch_coordinates,
)
from vla_infoentropy_ros.training.losses import Batch, GroundingHeads, total_loss, vision_loss
from vla_infoentropy_ros.training.packing import foreground, packed_forward
from vla_infoentropy_ros.training.precision import mixed_precision
from vla_infoentropy_ros.training.record import describe_machine

CHECK_SEED = 900_000
"""First seed of the short checks between stages; below the evaluation's, so neither overlaps."""

COLOUR_WORDS = (2, 6)
"""Places of the colours in "put the X cube on the Y plate". Attention is led from these words and
not from the nouns behind them: a noun would have to fetch its colour in layer 0 first, and that
detour alone had not been learned after 450 steps."""

SAVE_EVERY = 300
"""Steps between weights files inside a stage, so that there is always something to look at."""


class OutputError(UserError, ValueError):
    """A folder that a run must not write to."""


class Trainer:
    """Weights, optimiser and pictures of one run. ``output`` receives the weights files."""

    def __init__(self, recipe: Recipe, output: Path) -> None:
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(recipe.threads)
        self.recipe = recipe
        self.output = output
        self.rng = np.random.default_rng(recipe.seed)
        self.policy = EmbeddedPolicy(recipe.policy_config())
        self.policy.network.train()
        self.heads = GroundingHeads(recipe.architecture.width)
        self.average = copy.deepcopy(self.policy.network)
        self.frames = Frames.empty(recipe.capacity, recipe.architecture.image_size)
        self.filled = 0
        self.collected = 0
        self.step = 0
        self.prompts = self._prompts()
        self.optimiser = torch.optim.AdamW(
            parameter_groups([self.policy.network, self.heads], recipe.weight_decay),
            lr=1e-3,
            betas=(0.9, 0.98),
        )
        self.record: dict[str, Any] = {
            "revision": recipe.revision,
            "seed": recipe.seed,
            "machine": describe_machine(),
            "parameters": sum(p.numel() for p in self.policy.network.parameters()),
            "stages": [],
        }

    def run(self, state: Path | None = None) -> None:
        """All stages; weights and record are written after each.

        ``state`` keeps everything but the pictures after each stage; a run that finds it goes on
        behind the last finished stage, with pictures collected anew. Raises OutputError where it
        would write over weights that are not its own.
        """
        started = time.monotonic()
        resumes = state is not None and state.exists()
        self._check_output(resumes)
        done = self._restore(state) if state is not None and resumes else 0
        self.save()
        for index, stage in enumerate(self.recipe.stages[done:], start=done):
            entry: dict[str, Any] = {"name": stage.name, "steps": stage.steps}
            entry["collect_s"] = self._collect(index, stage)
            begun = time.monotonic()
            entry["losses"] = self._train(stage)
            entry["train_s"] = round(time.monotonic() - begun, 1)
            entry["frames"] = self.filled
            self.save()
            if stage.check_episodes:
                result = evaluate(self.output, CHECK_SEED, stage.check_episodes,
                                  self.recipe.workers)
                entry["check"] = result.summary()
            entry["since_start_s"] = round(time.monotonic() - started, 1)
            self.record["stages"].append(entry)
            self.record["total_s"] = _total_seconds(self.record["stages"])
            self.save()
            if state is not None:
                self._store(state, index + 1)
            tqdm.write(json.dumps(entry))

    def _check_output(self, resumes: bool) -> None:
        folder = self.output.resolve()
        if folder == SHIPPED.resolve():
            raise OutputError(
                f"{folder} holds the weights that come with the package; train into another folder "
                "(--weights) and use it as model"
            )
        if not resumes and folder.exists() and (there := sorted(folder.iterdir())):
            raise OutputError(
                f"{folder} holds {shown(there[0].name)}; name a new folder (--weights), or empty "
                "that one"
            )

    def save(self) -> None:
        """Write averaged weights, ``policy.json`` and ``training.json``."""
        write_weights(self.output / "policy.safetensors", self.average, self.recipe.revision)
        write_text(self.output / "policy.json", self.policy.config.dump())
        write_text(self.output / "training.json", json.dumps(self.record, indent=2) + "\n")

    def _store(self, path: Path, done: int) -> None:
        part = path.with_suffix(".part")
        torch.save({"done": done, "step": self.step, "record": self.record,
                    "generator": self.rng.bit_generator.state,
                    **{name: module.state_dict() for name, module in self._modules().items()}},
                   part)
        part.replace(path)

    def _restore(self, path: Path) -> int:
        """Load ``path``, collect the pictures of the stages done, return how many were done."""
        stored = torch.load(path, weights_only=True)
        for name, module in self._modules().items():
            module.load_state_dict(stored[name])
        self.step, self.record = stored["step"], stored["record"]
        self.rng.bit_generator.state = stored["generator"]
        self.record.setdefault("resumed_after", []).append(
            self.recipe.stages[stored["done"] - 1].name
        )
        self.save()
        for index, stage in enumerate(self.recipe.stages[: stored["done"]]):
            self._collect(index, stage)
        return int(stored["done"])

    def _modules(self) -> dict[str, Any]:
        return {"network": self.policy.network, "average": self.average, "heads": self.heads,
                "optimiser": self.optimiser}

    def _collect(self, index: int, stage: Stage) -> float:
        """Add pictures; once the store is full the earliest go first."""
        if not stage.collect:
            return 0.0
        begun = time.monotonic()
        new = collect_parallel(
            self.recipe.seed * 100 + index, stage.collect, self.recipe.architecture.image_size,
            self.output if stage.dagger else None, self.recipe.workers,
            f"{stage.name}: collect",
        )
        where = (self.collected + np.arange(len(new))) % self.recipe.capacity
        for chunk in np.split(np.arange(len(new)), np.flatnonzero(np.diff(where) < 0) + 1):
            self.frames.put(int(where[chunk[0]]), new.take(chunk))
        self.collected += len(new)
        self.filled = min(self.collected, self.recipe.capacity)
        self.patches = patch_coordinates(
            self.frames.take(slice(0, self.filled)), self.recipe.camera,
            self.recipe.architecture.image_size, self.recipe.architecture.patch,
        )
        return round(time.monotonic() - begun, 1)

    def _train(self, stage: Stage) -> dict[str, float]:
        """Run one stage; returns mean losses of its last tenth."""
        history: list[dict[str, float]] = []
        bar = tqdm(range(stage.steps), desc=stage.name, unit="step", mininterval=10.0)
        for number in bar:
            share = number / max(stage.steps - 1, 1)
            rate = stage.rate[0] + share * (stage.rate[1] - stage.rate[0])
            rate *= min(1.0, (self.step + 1) / self.recipe.warmup_steps)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            history.append(self._update(stage))
            self.step += 1
            if self.step % SAVE_EVERY == 0:
                self.save()
            if number % 50 == 49:
                bar.set_postfix(_mean(history[-50:]))
        return _mean(history[-max(stage.steps // 10, 1) :])

    def _update(self, stage: Stage) -> dict[str, float]:
        batch = self._batch(stage)
        with mixed_precision("cpu"):
            if stage.keep == 0:
                visual = self.policy.network.embed_vision(batch.pixels)
                loss, parts = vision_loss(visual, batch, self.heads)
            else:
                words = self.prompts.shape[-1]
                packed = packed_forward(self.policy, batch.pixels, batch.suffixes, COLOUR_WORDS,
                                        batch.keep)
                logits = self.policy.decoder.lm_head(packed.hidden[:, :, words - 1 :])
                loss, parts = total_loss(
                    logits, packed, batch, self.heads, self.policy.codec, words,
                    stage.sigma_bins, stage.grounding,
                )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.policy.network.parameters(), 1.0)
        self.optimiser.step()
        # A short memory at first: the average must not carry the random start along.
        decay = min(self.recipe.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.policy.network.parameters()), 1 - decay
            )
        return parts

    def _batch(self, stage: Stage) -> Batch:
        index = np.sort(self.rng.choice(self.filled, stage.batch, replace=False))
        images = torch.from_numpy(self.frames.images[index])
        patch = self.recipe.architecture.patch
        keep = foreground(images, stage.keep, patch) if 0 < stage.keep < 256 else None
        pixels = normalise_pixels(images)
        # Small changes of exposure and white balance, so that these do not matter.
        gain = self.rng.uniform(0.92, 1.08, (stage.batch, 3, 1, 1)).astype(np.float32)
        pixels = ((pixels + 1.0) * torch.from_numpy(gain) - 1.0).clamp_(-1.0, 1.0)
        chosen = self.rng.permuted(np.tile(np.arange(GOALS), (stage.batch, 1)), axis=1)
        place = (index[:, None], chosen[:, : stage.goals])
        goals = torch.from_numpy(self.frames.goals[place].astype(np.int64))
        labels = self.frames.labels[place]
        normalised = self.policy.stats.normalise(labels.reshape(-1, 7)).reshape(labels.shape)
        ids = torch.from_numpy(self.policy.codec.encode(normalised))
        prompts = self.prompts[goals[..., 0], goals[..., 1]]
        return Batch(
            pixels=pixels,
            keep=keep,
            suffixes=torch.cat([prompts, ids[..., :-1]], dim=-1),
            goals=goals,
            targets=torch.from_numpy(np.clip(normalised, -1, 1).astype(np.float32)),
            points=torch.from_numpy(self.frames.points[index]),
            patches=torch.from_numpy(self.patches[index]),
            held=torch.from_numpy(self.frames.held[index]),
        )

    def _prompts(self) -> torch.Tensor:
        """Token ids of every instruction, (cubes, plates, T)."""
        return torch.stack([
            torch.stack([self.policy.tokenize(Goal(c, p).instruction).token_ids for p in PLATES])
            for c in CUBES
        ])


def parameter_groups(modules: list[nn.Module], decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices only."""
    parameters = [p for module in modules for p in module.parameters()]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _total_seconds(stages: list[dict[str, Any]]) -> float:
    """Collection, training and checks of all stages, across breaks."""
    return round(
        sum(s["collect_s"] + s["train_s"] + s.get("check", {}).get("seconds", 0) for s in stages), 1
    )


def _mean(history: list[dict[str, float]]) -> dict[str, float]:
    return {
        name: round(float(np.mean([entry[name] for entry in history])), 4) for name in history[-1]
    }
