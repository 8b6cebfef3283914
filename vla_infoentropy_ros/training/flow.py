# SPDX-License-Identifier: Apache-2.0
"""Training of the embedded flow policies on the tabletop, from the pictures of `chunks`.

Loss: the flow matching of pi0. With noise e and the expert's chunk a, both (H, 7), the network
sees t e + (1 - t) a and learns the velocity e - a, at t ~ Beta(1.5, 1).
"""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from vla_infoentropy_ros.models.embedded import EmbeddedPolicy, PolicyConfig
from vla_infoentropy_ros.models.embedded.config import FlowConfig
from vla_infoentropy_ros.models.embedded.flow_network import FlowNetwork, PrefixKeys
from vla_infoentropy_ros.models.embedded.weights_file import write_text, write_weights
from vla_infoentropy_ros.sim.expert import MAX_STEP
from vla_infoentropy_ros.sim.tasks import Goal
from vla_infoentropy_ros.training.chunks import HORIZON, Chunks, shards
from vla_infoentropy_ros.training.frames import CUBES, PLATES
from vla_infoentropy_ros.training.packing import foreground_of
from vla_infoentropy_ros.training.record import describe_machine
from vla_infoentropy_ros.training.train import parameter_groups

ACTION_SIZE = 7
NOISES = 4
"""Noisy chunks per picture: they share its prefix, and cost little beside it."""
EULER_STEPS = 8
STORE_EVERY = 100
"""Steps between state files, and between looks for new shards."""

_WEIGHTS = (1.0, 1.0, 1.0, 0.05, 0.05, 0.05, 1.0)
"""Of the loss; rotation is constant on the tabletop and learned within minutes at any weight."""


@dataclass(frozen=True)
class FlowStage:
    """One stretch. keep: visual tokens of most updates; whole: share of updates with all of them,
    at a batch of ``whole_batch``; rate: learning rate, falling linearly."""

    name: str
    steps: int
    batch: int
    keep: int
    whole: float
    rate: tuple[float, float]
    whole_batch: int = 8

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.whole_batch) < 1 or not 1 <= self.keep <= 256:
            raise ValueError(
                f"stage {self.name!r}: steps = {self.steps}, batch = {self.batch} and whole_batch "
                f"= {self.whole_batch} must be >= 1, keep = {self.keep} must lie in [1, 256]"
            )


@dataclass(frozen=True)
class FlowRecipe:
    """What a run depends on beside its pictures.

    sees: as in `FlowConfig`. start: decoder and
    expert "random", or copied from the "shipped" policy's causal decoder. decoder_rate: the
    decoder's learning rate as a share of the expert's.
    """

    revision: str
    sees: str
    start: str
    stages: tuple[FlowStage, ...]
    decoder_rate: float = 1.0
    seed: int = 7
    weight_decay: float = 0.02
    warmup_steps: int = 200
    average: float = 0.998

    def __post_init__(self) -> None:
        if self.start not in ("random", "shipped"):
            raise ValueError(f"start = {self.start!r}: must be 'random' or 'shipped'")

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def at(self, step: int) -> tuple[FlowStage, float]:
        """Stage and learning rate of update ``step``."""
        left = step
        for stage in self.stages:
            if left < stage.steps:
                share = left / max(stage.steps - 1, 1)
                rate = stage.rate[0] + share * (stage.rate[1] - stage.rate[0])
                return stage, rate * min(1.0, (step + 1) / self.warmup_steps)
            left -= stage.steps
        raise ValueError(f"step = {step}: the recipe has {self.steps}")


RECIPES = {
    # The expert sees everything, and no weight comes from a causal model.
    "whole": FlowRecipe("tabletop-flow-1", "prefix", "random", (
        FlowStage("foreground", 5000, 32, 56, 0.05, (1e-3, 1e-3)),
        FlowStage("mixed", 3000, 28, 64, 0.4, (1e-3, 5e-4)),
        FlowStage("settle", 1200, 28, 64, 1.0, (4e-4, 1e-5)),
    )),
    # The stress case: whatever the words say must reach the expert through rows of the picture.
    "images": FlowRecipe("tabletop-flow-images-1", "images", "shipped", (
        FlowStage("foreground", 1200, 28, 64, 0.2, (1e-3, 1e-3)),
        FlowStage("mixed", 1400, 28, 64, 0.4, (1e-3, 5e-4)),
        FlowStage("settle", 600, 28, 64, 1.0, (4e-4, 1e-5)),
    ), decoder_rate=0.4),
}


class FlowTrainer:
    """Weights, optimiser and progress of one run. frames: folder of shards, of which the first is
    held out; output receives the weights; state, a file, keeps the run across breaks."""

    def __init__(self, recipe: FlowRecipe, frames: Path, output: Path, state: Path) -> None:
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(1)
        self.recipe, self.folder, self.output, self.state = recipe, frames, output, state
        self.policy = EmbeddedPolicy.load()
        self.network = start_network(self.policy, recipe.start)
        self.network.train()
        self.average = copy.deepcopy(self.network).eval()
        self.optimiser = torch.optim.AdamW(self._groups(), lr=1e-3, betas=(0.9, 0.98))
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []
        self.prompts = torch.stack([
            torch.stack([
                self.policy.tokenize(Goal(c, p).instruction).token_ids for p in PLATES
            ]) for c in CUBES
        ])
        self.shards: list[Chunks] = []
        self.held: Chunks | None = None
        if state.exists():
            self._restore()

    def run(self) -> None:
        """From where the state file stands to the recipe's end."""
        with tqdm(total=self.recipe.steps, initial=self.step, mininterval=30.0) as bar:
            losses: list[float] = []
            begun = time.monotonic()
            while self.step < self.recipe.steps:
                if self.step % STORE_EVERY == 0 or not self.shards:
                    self._look()
                losses.append(self._update())
                self.step += 1
                bar.update()
                if self.step % STORE_EVERY == 0 or self.step == self.recipe.steps:
                    self.seconds += time.monotonic() - begun
                    begun = time.monotonic()
                    self._note(losses)
                    self._store()
                    losses = []

    def _update(self) -> float:
        stage, rate = self.recipe.at(self.step)
        # A generator of its own for each update: a resumed run goes on as if there was no break.
        rng = np.random.default_rng([self.recipe.seed, self.step])
        torch.manual_seed(int(rng.integers(2**62)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        whole = rng.random() < stage.whole
        count = stage.whole_batch if whole else stage.batch
        embeddings, contrast, prompts, targets = self._batch(rng, count)
        keep = None if whole else foreground_of(contrast, stage.keep)
        prefix = run_prefix(self.network, embeddings, prompts, keep, self.policy.bos_token_id)
        if self.recipe.sees == "images":
            prefix = prefix.narrow(slice(1, -prompts.shape[1]))
        flow_time = torch.distributions.Beta(1.5, 1.0).sample((count, NOISES)) * 0.999 + 0.001
        noise = torch.randn(count, NOISES, *targets.shape[1:])
        chunk, when = targets[:, None], flow_time[..., None, None]
        seen = when * noise + (1 - when) * chunk
        velocity = run_expert(self.network, seen, flow_time, prefix, self._first_place())
        error = (velocity - (noise - chunk)) ** 2 * torch.tensor(_WEIGHTS)
        loss = error.sum(-1).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained(), 1.0)
        self.optimiser.step()
        decay = min(self.recipe.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.network.parameters()), 1 - decay
            )
        return float(loss.detach())

    def _batch(
        self, rng: np.random.Generator, count: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Embeddings (B, N, d), contrast (B, N), prompts (B, T), normalised chunks (B, H, 7)."""
        picked = []
        for _ in range(count):
            shard = self.shards[int(rng.integers(len(self.shards)))]
            picked.append((shard, int(rng.integers(len(shard))),
                           int(rng.integers(shard.goals.shape[1]))))
        goals = np.stack([s.goals[i, g] for s, i, g in picked]).astype(np.int64)
        labels = np.stack([s.labels[i, g] for s, i, g in picked])
        return (
            torch.from_numpy(np.stack([s.embeddings[i] for s, i, _ in picked])).float(),
            torch.from_numpy(np.stack([s.contrast[i] for s, i, _ in picked])).float(),
            self.prompts[goals[:, 0], goals[:, 1]],
            self._normalised(labels),
        )

    def _normalised(self, labels: np.ndarray) -> torch.Tensor:
        flat = self.policy.stats.normalise(labels.reshape(-1, ACTION_SIZE))
        return torch.from_numpy(np.clip(flat, -1, 1).reshape(labels.shape)).float()

    def _first_place(self) -> int:
        """Position of the chunk's first action, the same with and without all visual tokens."""
        side = self.policy.config.architecture.side
        return 1 + side * side + int(self.prompts.shape[-1])

    @torch.no_grad()
    def _check(self) -> dict[str, float]:
        """Errors of the averaged network on held out pictures, each action of a chunk alike."""
        assert self.held is not None
        index = np.arange(0, len(self.held), 16)
        goals = self.held.goals[index, 0].astype(np.int64)
        embeddings = torch.from_numpy(self.held.embeddings[index]).float()
        prompts = self.prompts[goals[:, 0], goals[:, 1]]
        prefix = run_prefix(self.average, embeddings, prompts, None, self.policy.bos_token_id)
        if self.recipe.sees == "images":
            prefix = prefix.narrow(slice(1, -prompts.shape[1]))
        wanted = self._normalised(self.held.labels[index, 0])
        actions = torch.randn(
            wanted.shape, generator=torch.Generator().manual_seed(self.recipe.seed)
        )
        for step in range(EULER_STEPS):
            now = torch.full((len(index), 1), 1 - step / EULER_STEPS)
            velocity = run_expert(self.average, actions[:, None], now, prefix, self._first_place())
            actions = actions - velocity[:, 0] / EULER_STEPS
        error = (actions - wanted).abs()
        wrong = (actions[..., 6] > 0) != (wanted[..., 6] > 0)
        return {
            "first_mm": round(float(error[:, 0, :3].mean()) * MAX_STEP * 1e3, 3),
            "chunk_mm": round(float(error[..., :3].mean()) * MAX_STEP * 1e3, 3),
            "gripper_wrong": round(float(wrong.float().mean()), 4),
        }

    def _note(self, losses: list[float]) -> None:
        entry = {
            "step": self.step, "stage": self.recipe.at(self.step - 1)[0].name,
            "loss": round(float(np.mean(losses)), 4), "shards": len(self.shards),
            "hours": round(self.seconds / 3600, 3), **self._check(),
        }
        self.history.append(entry)
        tqdm.write(json.dumps(entry))

    def _look(self) -> None:
        """Take up the shards that have come; wait for the first ones."""
        while len(found := shards(self.folder)) < 2:
            time.sleep(5.0)
        self.held = Chunks.open(found[0])
        self.shards = [Chunks.open(path) for path in found[1:]]

    def _groups(self) -> list[dict[str, Any]]:
        parts = ((self.network.decoder, self.recipe.decoder_rate), (self.network.expert, 1.0))
        return [
            group | {"share": share}
            for module, share in parts
            for group in parameter_groups([module], self.recipe.weight_decay)
        ]

    def _trained(self) -> list[nn.Parameter]:
        return [*self.network.decoder.parameters(), *self.network.expert.parameters()]

    def _modules(self) -> dict[str, Any]:
        return {"network": self.network, "average": self.average, "optimiser": self.optimiser}

    def _store(self) -> None:
        part = self.state.with_suffix(".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"step": self.step, "seconds": self.seconds, "history": self.history,
                    **{name: module.state_dict() for name, module in self._modules().items()}},
                   part)
        part.replace(self.state)
        write_weights(self.output / "policy.safetensors", self.average, self.recipe.revision)
        write_text(self.output / "policy.json", self._config().dump())
        record = {
            "revision": self.recipe.revision, "seed": self.recipe.seed,
            "machine": describe_machine(), "horizon": HORIZON, "history": self.history,
            "parameters": sum(p.numel() for p in self.network.parameters()),
        }
        write_text(self.output / "training.json", json.dumps(record, indent=2) + "\n")

    def _config(self) -> PolicyConfig:
        flow = FlowConfig(HORIZON, EULER_STEPS, self.recipe.sees)
        return replace(self.policy.config, revision=self.recipe.revision, flow=flow)

    def _restore(self) -> None:
        stored = torch.load(self.state, weights_only=True)
        for name, module in self._modules().items():
            module.load_state_dict(stored[name])
        self.step, self.seconds = stored["step"], stored["seconds"]
        self.history = stored["history"]


def start_network(policy: EmbeddedPolicy, start: str) -> FlowNetwork:
    """Eyes of ``policy``, which stay as they are; decoder and expert by ``FlowRecipe.start``."""
    config = policy.config
    network = FlowNetwork(config.architecture, policy.tokenizer.vocab_size, HORIZON, ACTION_SIZE)
    network.vision.load_state_dict(policy.network.vision.state_dict())
    network.projector.load_state_dict(policy.network.projector.state_dict())
    for eyes in (network.vision, network.projector):
        eyes.requires_grad_(False)
    if start == "shipped":
        shipped = policy.decoder.model
        network.decoder.load_state_dict(shipped.state_dict())
        network.expert.layers.load_state_dict(shipped.layers.state_dict())
        network.expert.norm.load_state_dict(shipped.norm.state_dict())
    return network


def run_prefix(
    network: FlowNetwork, embeddings: torch.Tensor, prompts: torch.Tensor,
    keep: torch.Tensor | None, bos_token_id: int,
) -> PrefixKeys:
    """``[BOS][visual][prompt]``; embeddings (B, N, d), prompts (B, T), keep (B, n) visual tokens
    that are there, at their true positions, None for all."""
    batch, total, width = embeddings.shape
    if keep is None:
        keep = torch.arange(total).expand(batch, total)
    else:
        embeddings = embeddings.gather(1, keep[..., None].expand(-1, -1, width))
    embed = network.decoder.embed_tokens
    bos = embed(torch.full((batch, 1), bos_token_id))
    places = torch.arange(total + 1, total + 1 + prompts.shape[1]).expand(batch, -1)
    positions = torch.cat([torch.zeros(batch, 1, dtype=torch.int64), keep + 1, places], dim=1)
    return network.prefix(torch.cat([bos, embeddings, embed(prompts)], dim=1), positions)


def run_expert(
    network: FlowNetwork, actions: torch.Tensor, flow_time: torch.Tensor, prefix: PrefixKeys,
    first: int,
) -> torch.Tensor:
    """Velocities (B, S, H, 7) of S noisy chunks that do not see one another; ``first``: position
    of a chunk's first action."""
    samples, horizon = actions.shape[1:3]
    positions = torch.arange(first, first + horizon).repeat(samples)[None]
    rotary = network.decoder.rotary_emb(actions, positions)
    mask = None
    if samples > 1:
        known = prefix.layers[0][0].shape[2]
        group = torch.arange(samples).repeat_interleave(horizon)
        own = group[:, None] == group[None]
        mask = torch.cat([torch.ones(len(group), known, dtype=torch.bool), own], dim=1)[None, None]
    hidden, behind = network.expert.rows(actions, flow_time), prefix.behind()
    for layer in network.expert.layers:
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary,
                       past_key_values=behind, is_causal=False)
    return network.expert.velocities(hidden).view_as(actions)
