# SPDX-License-Identifier: Apache-2.0
"""Training of the embedded flow policies on the tabletop, from the pictures of `chunks`.

Loss: the flow matching of pi0. With noise e and the expert's chunk a, both (H, 7), the network
sees t e + (1 - t) a and learns the velocity e - a, at t ~ Beta(1.5, 1).
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
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
from vla_infoentropy_ros.models.environment import parse_device
from vla_infoentropy_ros.sim.expert import MAX_STEP
from vla_infoentropy_ros.sim.tasks import Goal
from vla_infoentropy_ros.training.chunks import HORIZON, Batch, ChunkPool
from vla_infoentropy_ros.training.frames import CUBES, PLATES
from vla_infoentropy_ros.training.packing import foreground_of
from vla_infoentropy_ros.training.precision import mixed_precision
from vla_infoentropy_ros.training.record import describe_machine, device_name
from vla_infoentropy_ros.training.train import parameter_groups

ACTION_SIZE = 7
NOISES = 4
"""Noisy chunks per picture: they share its prefix, and cost little beside it."""
EULER_STEPS = 8
STORE_EVERY = 250
"""Updates between state files, and between looks for new shards."""
CHECK_EVERY = 4
"""One in so many of the held out pictures is checked."""

_WEIGHTS = (1.0, 1.0, 1.0, 0.05, 0.05, 0.05, 1.0)
"""Of the loss; rotation is constant on the tabletop and learned within minutes at any weight."""


@dataclass(frozen=True)
class FlowStage:
    """One stretch of updates. keep: visual tokens of most updates; whole: share of updates with
    all of them; rate: learning rate, falling linearly."""

    name: str
    steps: int
    keep: int
    whole: float
    rate: tuple[float, float]

    def __post_init__(self) -> None:
        if self.steps < 1 or not 1 <= self.keep <= 256:
            raise ValueError(
                f"stage {self.name!r}: steps = {self.steps} must be >= 1, keep = {self.keep} must "
                "lie in [1, 256]"
            )


@dataclass(frozen=True)
class FlowRecipe:
    """What a run depends on beside its pictures.

    sees: as in `FlowConfig`. start: decoder and expert "random", or copied from the "shipped"
    policy's causal decoder. batch: pictures in an update. decoder_rate: the decoder's learning
    rate as a share of the expert's.
    """

    revision: str
    sees: str
    start: str
    stages: tuple[FlowStage, ...]
    batch: int = 128
    decoder_rate: float = 1.0
    seed: int = 7
    weight_decay: float = 0.02
    warmup_steps: int = 200
    average: float = 0.998

    def __post_init__(self) -> None:
        if self.start not in ("random", "shipped"):
            raise ValueError(f"start = {self.start!r}: must be 'random' or 'shipped'")
        if self.batch < 1:
            raise ValueError(f"batch = {self.batch}: must be >= 1")

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def at(self, place: float) -> tuple[FlowStage, float]:
        """Stage and learning rate where ``place`` of the recipe's updates lie behind."""
        left = place
        for stage in self.stages:
            if left < stage.steps:
                share = left / stage.steps
                rate = stage.rate[0] + share * (stage.rate[1] - stage.rate[0])
                return stage, rate
            left -= stage.steps
        raise ValueError(f"place = {place}: the recipe has {self.steps} steps")


# Foreground first: an update on the patches that differ from the table costs a quarter.
RECIPES = {
    # The expert sees everything, and no weight comes from a causal model.
    "whole": FlowRecipe("tabletop-flow-2", "prefix", "random", (
        FlowStage("foreground", 6000, 56, 0.1, (1e-3, 1e-3)),
        FlowStage("mixed", 6000, 64, 0.5, (1e-3, 7e-4)),
        FlowStage("settle", 8000, 64, 1.0, (6e-4, 1e-5)),
    )),
    # The stress case: whatever the words say must reach the expert through rows of the picture.
    "images": FlowRecipe("tabletop-flow-images-2", "images", "shipped", (
        FlowStage("foreground", 5000, 64, 0.2, (1e-3, 1e-3)),
        FlowStage("mixed", 5000, 64, 0.5, (1e-3, 7e-4)),
        FlowStage("settle", 8000, 64, 1.0, (6e-4, 1e-5)),
    ), decoder_rate=0.4),
}


class Pace:
    """Where in its recipe a run stands: by its updates, or sooner if its time is short."""

    def __init__(
        self, steps: int, done: int, seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.steps, self.seconds, self.clock = steps, seconds, clock
        self.first, self.begun = done, clock()

    def place(self, step: int) -> float:
        """Updates of the recipe that lie behind a run at ``step``, or that time has run out for;
        at most ``steps``."""
        if self.seconds is None:
            return step
        share = min((self.clock() - self.begun) / self.seconds, 1.0)
        return max(float(step), self.first + share * (self.steps - self.first))


class FlowTrainer:
    """Weights, optimiser and progress of one run. frames: folder of shards, of which the first is
    held out; output receives the weights; state, a file, keeps the run across breaks."""

    def __init__(
        self, recipe: FlowRecipe, frames: Path, output: Path, state: Path, device: str = "cpu"
    ) -> None:
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(1)
        self.recipe, self.output, self.state = recipe, output, state
        self.device = parse_device(device)
        self.policy = EmbeddedPolicy.load()
        self.pool = ChunkPool(frames, self.policy.stats, self.device)
        self.network = start_network(self.policy, recipe.start).to(self.device)
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
        ]).to(self.device)
        self.weights = torch.tensor(_WEIGHTS, device=self.device)
        if state.exists():
            self._restore()

    def run(self, seconds: float | None = None) -> None:
        """From where the state file stands to the recipe's end. ``seconds``: what is left of the
        recipe is gone through in this time, with as many updates as it allows."""
        begun = time.monotonic()
        self.pool.look()
        if seconds is not None:
            seconds = max(seconds - (time.monotonic() - begun), 1.0)
        pace = Pace(self.recipe.steps, self.step, seconds)
        with tqdm(total=self.recipe.steps, initial=self.step, mininterval=30.0) as bar:
            losses: list[torch.Tensor] = []
            begun = time.monotonic()
            while (place := pace.place(self.step)) < self.recipe.steps:
                losses.append(self._update(place))
                self.step += 1
                bar.update()
                last = pace.place(self.step) >= self.recipe.steps
                if self.step % STORE_EVERY == 0 or last:
                    self.seconds += time.monotonic() - begun
                    begun = time.monotonic()
                    self._note(place, losses)
                    self._store()
                    self.pool.look()
                    losses = []

    def _update(self, place: float) -> torch.Tensor:
        stage, rate = self.recipe.at(place)
        rate *= min(1.0, (self.step + 1) / self.recipe.warmup_steps)
        # A generator of its own for each update: a resumed run goes on as if there was no break.
        rng = np.random.default_rng([self.recipe.seed, self.step])
        torch.manual_seed(int(rng.integers(2**62)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        whole = rng.random() < stage.whole
        batch = self.pool.draw(rng, self.recipe.batch)
        keep = None if whole else foreground_of(batch.contrast, stage.keep)
        with mixed_precision(self.device.type):
            loss = self._loss(batch, keep)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained(), 1.0)
        self.optimiser.step()
        decay = min(self.recipe.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.network.parameters()), 1 - decay
            )
        return loss.detach()

    def _loss(self, batch: Batch, keep: torch.Tensor | None) -> torch.Tensor:
        prefix = self._prefix(self.network, batch, keep)
        count, *shape = batch.targets.shape
        # Beta(1.5, 1) by the inverse of its distribution function, t^1.5.
        flow_time = torch.rand(count, NOISES, device=self.device) ** (1 / 1.5) * 0.999 + 0.001
        noise = torch.randn(count, NOISES, *shape, device=self.device)
        chunk, when = batch.targets[:, None], flow_time[..., None, None]
        seen = when * noise + (1 - when) * chunk
        velocity = run_expert(self.network, seen, flow_time, prefix, self._first_place())
        error = (velocity.float() - (noise - chunk)) ** 2 * self.weights
        return error.sum(-1).mean()

    def _prefix(
        self, network: FlowNetwork, batch: Batch, keep: torch.Tensor | None
    ) -> PrefixKeys:
        """What the expert sees of the pictures and their goals' words."""
        prompts = self.prompts[batch.goals[:, 0], batch.goals[:, 1]]
        prefix = run_prefix(network, batch.embeddings, prompts, keep, self.policy.bos_token_id)
        if self.recipe.sees == "images":
            prefix = prefix.narrow(slice(1, -prompts.shape[1]))
        return prefix

    def _first_place(self) -> int:
        """Position of the chunk's first action, the same with and without all visual tokens."""
        side = self.policy.config.architecture.side
        return 1 + side * side + int(self.prompts.shape[-1])

    @torch.no_grad()
    def _check(self) -> dict[str, float]:
        """Errors of the averaged network on held out pictures, each action of a chunk alike."""
        batch = self.pool.held(CHECK_EVERY)
        prefix = self._prefix(self.average, batch, None)
        wanted = batch.targets
        actions = torch.randn(
            wanted.shape, generator=torch.Generator().manual_seed(self.recipe.seed)
        ).to(self.device)
        for step in range(EULER_STEPS):
            now = torch.full((len(wanted), 1), 1 - step / EULER_STEPS, device=self.device)
            velocity = run_expert(self.average, actions[:, None], now, prefix, self._first_place())
            actions = actions - velocity[:, 0] / EULER_STEPS
        error = (actions - wanted).abs()
        wrong = (actions[..., 6] > 0) != (wanted[..., 6] > 0)
        return {
            "first_mm": round(float(error[:, 0, :3].mean()) * MAX_STEP * 1e3, 3),
            "chunk_mm": round(float(error[..., :3].mean()) * MAX_STEP * 1e3, 3),
            "gripper_wrong": round(float(wrong.float().mean()), 4),
        }

    def _note(self, place: float, losses: list[torch.Tensor]) -> None:
        entry = {
            "step": self.step, "stage": self.recipe.at(place)[0].name,
            "loss": round(float(torch.stack(losses).mean()), 4), "shards": len(self.pool),
            "hours": round(self.seconds / 3600, 3), **self._check(),
        }
        self.history.append(entry)
        tqdm.write(json.dumps(entry))

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
            "machine": describe_machine(), "device": device_name(self.device),
            "horizon": HORIZON, "history": self.history,
            "parameters": sum(p.numel() for p in self.network.parameters()),
        }
        write_text(self.output / "training.json", json.dumps(record, indent=2) + "\n")

    def _config(self) -> PolicyConfig:
        flow = FlowConfig(HORIZON, EULER_STEPS, self.recipe.sees)
        return replace(self.policy.config, revision=self.recipe.revision, flow=flow)

    def _restore(self) -> None:
        stored = torch.load(self.state, weights_only=True, map_location=self.device)
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
    device = embeddings.device
    if keep is None:
        keep = torch.arange(total, device=device).expand(batch, total)
    else:
        embeddings = embeddings.gather(1, keep[..., None].expand(-1, -1, width))
    embed = network.decoder.embed_tokens
    bos = torch.full((batch, 1), bos_token_id, device=device)
    first = torch.zeros_like(bos)
    places = torch.arange(total + 1, total + 1 + prompts.shape[1], device=device)
    positions = torch.cat([first, keep + 1, places.expand(batch, -1)], dim=1)
    return network.prefix(torch.cat([embed(bos), embeddings, embed(prompts)], dim=1), positions)


def run_expert(
    network: FlowNetwork, actions: torch.Tensor, flow_time: torch.Tensor, prefix: PrefixKeys,
    first: int,
) -> torch.Tensor:
    """Velocities (B, S, H, 7) of S noisy chunks that do not see one another; ``first``: position
    of a chunk's first action."""
    samples, horizon = actions.shape[1:3]
    device = actions.device
    positions = torch.arange(first, first + horizon, device=device).repeat(samples)[None]
    rotary = network.decoder.rotary_emb(actions, positions)
    mask = None
    if samples > 1:
        known = prefix.layers[0][0].shape[2]
        group = torch.arange(samples, device=device).repeat_interleave(horizon)
        own = group[:, None] == group[None]
        mask = torch.cat([own.new_ones(len(group), known), own], dim=1)[None, None]
    hidden, behind = network.expert.rows(actions, flow_time), prefix.behind()
    for layer in network.expert.layers:
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary,
                       past_key_values=behind, is_causal=False)
    return network.expert.velocities(hidden).view_as(actions)
