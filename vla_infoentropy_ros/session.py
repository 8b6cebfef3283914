# SPDX-License-Identifier: Apache-2.0
"""One episode of one policy: the only place with state across steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.engine import heads
from vla_infoentropy_ros.engine.cost import Cost, probe_flops_of, run_cost
from vla_infoentropy_ros.engine.flops import measure_flops
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import TokenPlan
from vla_infoentropy_ros.engine.probe import Attention
from vla_infoentropy_ros.engine.ridge import ridge_of
from vla_infoentropy_ros.engine.stopwatch import Stopwatch
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.knobs import check_knobs, knob
from vla_infoentropy_ros.models.adapter import Action, PolicyAdapter, PolicyError, PromptTokens
from vla_infoentropy_ros.selection import Selection, SelectionInput, Selector, reasons
from vla_infoentropy_ros.selection.image_entropy import patches_of
from vla_infoentropy_ros.selection.refresh import WithRefresh

DECODE_MODES = ("greedy", "window")


class StepError(UserError, RuntimeError):
    """A step gave nothing that a robot may act on."""


@dataclass(frozen=True)
class SessionOptions:
    """How steps run, whatever the selector. Raises SettingError, naming field and range."""

    decode: str = knob("greedy", "greedy = one pass per action token; window = verify the last "
                       "action's tokens in one pass and repeat where they differ: the same "
                       "tokens in fewer passes", choices=DECODE_MODES)
    frame_gap_limit_s: float = knob(1.0, "s; frames further apart than this share no cache",
                                    low=0.0, high=3600.0)
    entropy_gate: float = knob(0.0, "nats; a step whose action tokens have a larger mean entropy "
                               "is run again with everything recomputed; 0 = off",
                               low=0.0, high=100.0)

    def __post_init__(self) -> None:
        check_knobs(self)


@dataclass(frozen=True)
class SelectionReport:
    """What was recomputed and why; N tokens, views in order, raster order within a view.

    reasons: (N,) uint8 bits of `selection.reasons`. image_entropy, attention_information,
    attention_mass, drift: (N,) float32, or empty where the selector does not compute it. ages:
    (N,) uint16, steps since each token was recomputed, after this step. alpha: NaN and k: -1
    without a schedule. fresh + reused + pruned == N.
    """

    reasons: NDArray[np.uint8]
    image_entropy: NDArray[np.float32]
    attention_information: NDArray[np.float32]
    attention_mass: NDArray[np.float32]
    drift: NDArray[np.float32]
    ages: NDArray[np.uint16]
    alpha: float
    k_visual: int
    k_attention: int
    fresh: int
    reused: int
    pruned: int

    @property
    def reuse_ratio(self) -> float:
        """Share of visual tokens that were reused, 0 .. 1."""
        return self.reused / max(1, self.fresh + self.reused + self.pruned)


@dataclass(frozen=True)
class StepResult:
    """One executed step.

    t: steps executed before this one in the episode. invalidated: why nothing that earlier steps
    left was used, or "". stages_ms: preprocess, vision, select, prefill, decode; latency_ms: their
    sum. decoder_passes, flops (true FLOPs, vision included), macs (the papers' counter, see
    `engine.flops`): of all that ran, both times where the entropy gate ran the step again. image:
    (V, H, W, 3) uint8, as the tower saw it.
    """

    action: Action
    t: int
    invalidated: str
    report: SelectionReport
    stages_ms: dict[str, float]
    latency_ms: float
    decoder_passes: int
    flops: int
    macs: int
    image: NDArray[np.uint8]


@dataclass
class _Memory:
    """What the cached keys and values were computed from. Shapes as in SelectionInput; patches
    in float32, so that only those of fresh tokens are converted."""

    embeddings: torch.Tensor
    patches: torch.Tensor
    ages: torch.Tensor

    def refresh(self, fresh: torch.Tensor, embeddings: torch.Tensor, patches: torch.Tensor) -> None:
        self.embeddings.index_copy_(0, fresh, embeddings[fresh])
        flat, today = self.patches.flatten(0, 1), patches.flatten(0, 1)
        flat.index_copy_(0, fresh, today[fresh].float())
        self.ages.add_(1).index_fill_(0, fresh, 0)


@dataclass
class _Episode:
    """All that one step leaves for the next. invalid: why none of it may be used, or "". holes:
    the last step pruned, so its keys and values do not cover every token. draft: (A - 1,) int64,
    the last action's tokens. seen: shapes of the images, and where they came from."""

    invalid: str
    holes: bool = False
    memory: _Memory | None = None
    attention: Attention | None = None
    selector_state: Any = None
    draft: torch.Tensor | None = None
    stamp_ns: int | None = None
    seen: tuple[Any, ...] = ()


class Session:
    """Steps a policy through an episode, reusing keys and values between frames.

    Not thread-safe: one worker owns it. Whatever makes the cache unfit (see `reset` and `step`)
    makes the next step recompute everything; no step ever reads a cache of unknown origin.
    """

    def __init__(
        self, policy: PolicyAdapter, selector: Selector, options: SessionOptions | None = None
    ) -> None:
        self.policy, self.selector = policy, selector
        self.options = options or SessionOptions()
        self.instruction = ""
        self.steps = 0
        self._visual = policy.views * policy.grid[0] * policy.grid[1]
        self._prompt: PromptTokens | None = None
        self._text: torch.Tensor | None = None  # (T, d) embedded prompt
        self._words = torch.zeros(0, dtype=torch.int64)  # its rows that are the instruction's
        self._decoder: PartialDecoder | None = None
        self._device = policy.decoder.model.embed_tokens.weight.device
        self._vision_flops = 0
        self._ridge = 0
        self._forget("first_frame")

    def set_instruction(self, text: str) -> None:
        """Follow ``text`` from the next step on; another text than before resets.

        Raises PolicyError for a text the policy cannot follow; the old one then stays in force.
        """
        if text == self.instruction:
            return
        prompt = self.policy.tokenize(text)
        self._prompt, self.instruction = prompt, text
        self._build()
        self.reset("instruction_changed" if self.steps else "first_frame")

    def set_selector(self, selector: Selector) -> None:
        """Choose tokens by ``selector`` from the next step on; resets."""
        self.selector = selector
        self._build()
        self.reset("selector_changed")

    def set_options(self, options: SessionOptions) -> None:
        """Run by ``options`` from the next step on; the cache stays good."""
        self.options = options

    def reset(self, reason: str) -> None:
        """A new episode begins: t = 0, nothing reused, no draft. ``reason`` stands in the next
        result."""
        self.steps = 0
        self._forget(reason)

    def step(
        self, images: Sequence[NDArray[np.uint8]], stamp_ns: int | None = None, source: str = ""
    ) -> StepResult:
        """Camera images, one per view, (h, w, 3) uint8 RGB, to an action.

        stamp_ns: when the frame was taken, on one clock; frames further apart than
        ``frame_gap_limit_s``, or running backwards, share no cache. source: which camera it was
        taken by, any name; images of another source or size share no cache either. Raises
        PolicyError for images the policy cannot take or a missing instruction, StepError when the
        network gives NaN; after any exception the next step recomputes everything.
        """
        if self._decoder is None:
            raise PolicyError("no instruction: call set_instruction before the first step")
        self._check_stamp(stamp_ns)
        invalidated, self._episode.invalid = self._episode.invalid, "exception"
        if self._episode.holes and self.selector.reuses:
            invalidated = invalidated or "pruned_step"
        with torch.inference_mode():
            result = self._run(self._decoder, images, source, invalidated)
        self._episode.invalid, self._episode.holes = "", result.report.pruned > 0
        self.steps += 1
        return result

    def _run(
        self, decoder: PartialDecoder, images: Sequence[NDArray[np.uint8]], source: str,
        invalidated: str,
    ) -> StepResult:
        watch = Stopwatch(self._device)
        seen = self.policy.preprocess(images)
        watch.lap("preprocess")
        visual = self.policy.embed_vision(seen.pixels)
        watch.lap("vision")
        origin = (source, *(image.shape for image in images))
        if self._episode.memory is not None and origin != self._episode.seen:
            invalidated = invalidated or "image_changed"
        if invalidated:
            # Nor may a selector that reuses no keys go by what was attended to before.
            self._episode.attention = self._episode.selector_state = None
        patches = patches_of(seen.image.to(self._device), self.policy.grid)
        selection = self._select(patches, visual, invalidated)
        watch.lap("select")
        decoded = self._act(decoder, visual, selection.plan, watch)
        cost = Cost()
        if self._unsure(decoded) and selection.plan.fresh.shape[0] < self._visual:
            cost = run_cost(decoder, selection.plan, decoded)
            selection, invalidated = self._everything(visual), "entropy_gate"
            decoded = self._act(decoder, visual, selection.plan, watch)
        finite = torch.isfinite(decoded.logits).all()
        *tokens, sane = torch.cat((decoded.tokens, finite[None].long())).tolist()
        watch.lap("decode")
        if not sane:
            raise StepError("the language model produced NaN or infinity; no action is given")

        self._remember(decoder, selection, visual, patches, decoded.tokens)
        self._episode.seen = origin
        report = self._report(selection, decoder.kept)
        watch.lap("select")
        cost += run_cost(decoder, selection.plan, decoded)
        return StepResult(
            action=self.policy.decode_action(tokens),
            t=self.steps,
            invalidated=invalidated,
            report=report,
            stages_ms=watch.stages_ms,
            latency_ms=watch.total_ms,
            decoder_passes=cost.passes,
            flops=self._vision_flops + cost.flops + probe_flops_of(decoder),
            macs=cost.macs,
            image=seen.image.cpu().numpy(),
        )

    def _act(
        self, decoder: PartialDecoder, visual: torch.Tensor, plan: TokenPlan, watch: Stopwatch
    ) -> heads.Decoded:
        assert self._text is not None
        parts = [self._bos, visual, self._text]
        draft = self._episode.draft if self.options.decode == "window" else None
        if draft is not None:
            parts.append(self.policy.decoder.model.embed_tokens(draft))
        hidden = decoder.prefill(torch.cat(parts)[None], plan)
        watch.lap("prefill")
        lm_head = self.policy.decoder.lm_head
        decoded = (
            heads.greedy(decoder, lm_head, hidden) if draft is None
            else heads.window(decoder, lm_head, hidden, draft)
        )
        watch.lap("decode")
        return decoded

    def _unsure(self, decoded: heads.Decoded) -> bool:
        gate = self.options.entropy_gate
        return gate > 0 and bool(decoded.entropy() > gate)

    def _everything(self, visual: torch.Tensor) -> Selection:
        bits = torch.full((self._visual,), reasons.REFRESH, dtype=torch.uint8)
        return Selection(TokenPlan.dense(self._visual, visual.device), bits)

    def _select(
        self, patches: torch.Tensor, visual: torch.Tensor, invalidated: str
    ) -> Selection:
        memory = self._episode.memory
        if self.selector.reuses and (invalidated or memory is None):
            return self._everything(visual)
        return self.selector.select(SelectionInput(
            t=self.steps,
            patches=patches,
            reference_patches=patches if memory is None else memory.patches,
            embeddings=visual,
            reference_embeddings=visual if memory is None else memory.embeddings,
            ages=self._no_ages() if memory is None else memory.ages,
            attention=self._episode.attention,
            words=self._words,
            depth=len(self.policy.decoder.model.layers),
            ridge=self._ridge,
            state=self._episode.selector_state,
        ))

    def _remember(
        self, decoder: PartialDecoder, selection: Selection, visual: torch.Tensor,
        patches: torch.Tensor, tokens: torch.Tensor,
    ) -> None:
        fresh = selection.plan.fresh
        if self._episode.memory is None or fresh.shape[0] == self._visual:
            self._episode.memory = _Memory(visual.clone(), patches.float(), self._no_ages())
        else:
            self._episode.memory.refresh(fresh, visual, patches)
        if decoder.probe_layers:
            fed_back = decoder.layout.action - 1  # the last action token is not
            self._episode.attention = decoder.attention(fed_back)
        self._episode.selector_state = selection.state
        self._episode.draft = tokens[:-1].clone()

    def _no_ages(self) -> torch.Tensor:
        return torch.zeros(self._visual, dtype=torch.int64, device=self._device)

    def _report(self, selection: Selection, kept: torch.Tensor | None) -> SelectionReport:
        assert self._episode.memory is not None
        bits = selection.reasons.cpu().numpy().copy()
        fresh = int(selection.plan.fresh.shape[0])
        pruned = 0
        if kept is not None:
            gone = np.ones(self._visual, dtype=bool)
            gone[kept.cpu().numpy()] = False
            bits[gone] = reasons.PRUNED
            pruned = int(gone.sum())
            fresh = self._visual - pruned
        signals = {name: values.float().cpu().numpy() for name, values in selection.signals.items()}
        nothing = np.zeros(0, dtype=np.float32)
        return SelectionReport(
            reasons=bits,
            image_entropy=signals.get("image_entropy", nothing),
            attention_information=signals.get("attention_information", nothing),
            attention_mass=signals.get("attention_mass", nothing),
            drift=signals.get("drift", nothing),
            ages=self._episode.memory.ages.clamp(max=65535).cpu().numpy().astype(np.uint16),
            alpha=selection.alpha,
            k_visual=selection.k_visual,
            k_attention=selection.k_attention,
            fresh=fresh,
            reused=self._visual - fresh - pruned,
            pruned=pruned,
        )

    def _build(self) -> None:
        """A decoder for the prompt's length and the selector's probe; its cache starts empty."""
        if self._prompt is None:
            return
        embed = self.policy.decoder.model.embed_tokens
        depth = len(self.policy.decoder.model.layers)
        ids = self._prompt.token_ids.to(self._device)
        self._words = self._prompt.instruction.nonzero().squeeze(-1).to(self._device)
        layout = Layout(self._visual, ids.shape[0], self.policy.action_tokens)
        layers = self.selector.needs(depth).resolve(depth)
        with torch.inference_mode():
            self._text = embed(ids)
            self._bos = embed(torch.tensor([self.policy.bos_token_id], device=self._device))
            self._decoder = PartialDecoder(self.policy.decoder.model, layout, layers)
        self._measure(self._decoder)

    def _measure(self, decoder: PartialDecoder) -> None:
        """What depends on the machine or has no closed form; once, before the first step."""
        if not self._vision_flops:
            blank = [np.zeros((224, 224, 3), dtype=np.uint8)] * self.policy.views
            with torch.inference_mode():
                pixels = self.policy.preprocess(blank).pixels
                self._vision_flops = measure_flops(lambda: self.policy.embed_vision(pixels))
        wanted = isinstance(self.selector, WithRefresh) and self.selector.wants_ridge
        self._ridge = ridge_of(decoder) if wanted else 0

    def _check_stamp(self, stamp_ns: int | None) -> None:
        last, self._episode.stamp_ns = self._episode.stamp_ns, stamp_ns
        if stamp_ns is None or last is None:
            return
        if stamp_ns < last:
            self.reset("clock_backwards")
            self._episode.stamp_ns = stamp_ns
        elif stamp_ns - last > self.options.frame_gap_limit_s * 1e9:
            self._episode.invalid = self._episode.invalid or "frame_gap"

    def _forget(self, reason: str) -> None:
        self._episode = _Episode(invalid=reason)
