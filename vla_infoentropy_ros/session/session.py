# SPDX-License-Identifier: Apache-2.0
"""One episode of one policy: the only place with state across steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vla_infoentropy_ros.engine import heads
from vla_infoentropy_ros.engine.cost import Cost, probe_flops_of
from vla_infoentropy_ros.engine.flops import measure_flops
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import PlanError, TokenPlan
from vla_infoentropy_ros.engine.read_back import read_back
from vla_infoentropy_ros.engine.ridge import ridge_of
from vla_infoentropy_ros.engine.stopwatch import Stopwatch
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.action_codec import ActionError
from vla_infoentropy_ros.models.adapter import PolicyAdapter, PolicyError, PromptTokens
from vla_infoentropy_ros.plugins import containing
from vla_infoentropy_ros.selection import Selection, SelectionInput, Selector, reasons
from vla_infoentropy_ros.selection.image_entropy import patches_of
from vla_infoentropy_ros.selection.refresh import WithRefresh
from vla_infoentropy_ros.session.alone import embed_prompt
from vla_infoentropy_ros.session.episode import Episode, Memory
from vla_infoentropy_ros.session.options import SessionOptions
from vla_infoentropy_ros.session.report import StepResult, report_of, told_of


class StepError(UserError, RuntimeError):
    """A step gave nothing that a robot may act on."""


class Session:
    """Steps a policy through an episode, reusing keys and values between frames.

    Not thread-safe: one worker owns it. Raises SettingError for a selector or options that do not
    fit the policy. Whatever makes the cache unfit (see `reset` and `step`)
    makes the next step recompute everything; no step ever reads a cache of unknown origin.
    """

    def __init__(
        self, policy: PolicyAdapter, selector: Selector, options: SessionOptions | None = None
    ) -> None:
        self.policy, self.selector = policy, selector
        self.options = options or SessionOptions()
        check_fit(policy, selector, self.options)
        self.instruction = ""
        self.steps = 0
        with containing(policy, "its network"):
            self._visual = policy.views * policy.grid[0] * policy.grid[1]
            self._device = policy.backbone.device
        self._prompt: PromptTokens | None = None
        self._text: torch.Tensor | None = None  # (T, d) embedded prompt
        self._words = torch.zeros(0, dtype=torch.int64)  # its rows that are the instruction's
        self._decoder: PartialDecoder | None = None
        self._depth = _depth_of(policy)
        self._vision_flops = 0
        self._action_rows = 0  # that the selector reads the attention of
        self._ridge = 0
        self._episode = Episode("first_frame")

    @property
    def decoder(self) -> PartialDecoder:
        """That of the instruction in force, with what the last step left in its cache."""
        if self._decoder is None:
            raise PolicyError("no instruction: call set_instruction first")
        return self._decoder

    def set_instruction(self, text: str) -> None:
        """Follow ``text`` from the next step on; other tokens than before reset, the same ones in
        another spelling do not.

        Raises PolicyError for a text the policy cannot follow; the old one then stays in force.
        """
        if self._prompt is not None and text == self.instruction:
            return
        prompt = self.policy.tokenize(text)
        if self._prompt is None or not prompt.same_as(self._prompt):
            with containing(self.policy, "a new instruction"):
                self._build(prompt, self.selector)
            self.reset("instruction_changed" if self.steps else "first_frame")
        self.instruction = text

    def set_selector(self, selector: Selector) -> None:
        """Choose tokens by ``selector`` from the next step on; resets. Raises SettingError where
        the policy cannot be run so; the old one then stays in force."""
        check_fit(self.policy, selector, self.options)
        if self._prompt is not None:
            with containing(self.policy, "another selector"):
                self._build(self._prompt, selector)
        self.selector = selector
        self.reset("selector_changed")

    def set_options(self, options: SessionOptions) -> None:
        """Run by ``options`` from the next step on; the cache stays good. Raises as above."""
        check_fit(self.policy, self.selector, options)
        self.options = options

    def reset(self, reason: str) -> None:
        """A new episode begins: t = 0, nothing reused, no draft. ``reason`` stands in the next
        result."""
        self.steps = 0
        self._episode = Episode(reason)

    def step(
        self, images: Sequence[NDArray[np.uint8]], stamp_ns: int | None = None, source: str = "",
        state: ArrayLike | None = None,
    ) -> StepResult:
        """Camera images, one per view, (h, w, 3) uint8 RGB, to an action.

        stamp_ns: when the frame was taken, on one clock; frames further apart than
        ``frame_gap_limit_s``, or running backwards, share no cache. source: which camera it was
        taken by, any name; images of another source or size share no cache either. state: the
        robot's, (S,) as the policy's ``proprioception`` takes it, None where it takes none.
        Raises PolicyError for images or a state the policy cannot take or a missing instruction,
        StepError when the network gives NaN or a word for an action, PluginError where a policy of
        others fails; after any exception the next step recomputes everything.
        """
        if self._decoder is None:
            raise PolicyError("no instruction: call set_instruction before the first step")
        self._check_stamp(stamp_ns)
        invalidated, self._episode.invalid = self._episode.invalid, "exception"
        if self._episode.holes and self.selector.reuses:
            invalidated = invalidated or "pruned_step"
        with torch.inference_mode(), containing(self.policy, "a step"):
            result = self._run(self._decoder, images, source, self._normalised(state), invalidated)
        self._episode.invalid, self._episode.holes = "", result.report.pruned > 0
        self.steps += 1
        return result

    def _run(
        self, decoder: PartialDecoder, images: Sequence[NDArray[np.uint8]], source: str,
        state: torch.Tensor | None, invalidated: str,
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
            # All of it, for every selector: one that reuses no keys goes by what was attended to
            # before, and slots that a pruner leaves unwritten would keep what a NaN frame left.
            self._episode = Episode("exception", stamp_ns=self._episode.stamp_ns)
            decoder.cache.clear()
        patches = patches_of(seen.image.to(self._device), self.policy.grid)
        selection = self._select(patches, visual, invalidated)
        watch.lap("select")
        decoded = self._act(decoder, visual, selection.plan, state, watch)
        cost = Cost()
        plan = selection.plan
        partial = plan.pruning is not None or plan.fresh.shape[0] < self._visual
        if partial and self._unsure(decoded):
            cost = self.policy.head.cost(decoder, plan, decoded)
            selection = replace(self._everything(visual), state=selection.state)
            invalidated = "entropy_gate"
            decoded = self._act(decoder, visual, selection.plan, state, watch)
        memory = self._remember(decoder, selection, visual, patches, decoded.next_draft())
        # Of the picture too: a token that is kept today is not read, and its NaN would not show.
        finite, numbers = decoded.finite() & torch.isfinite(visual).all(), decoded.numbers()
        told = read_back({
            "numbers": numbers, "finite": finite,
            **told_of(selection, memory.ages, decoder.kept),
        })
        watch.lap("select")
        if not told["finite"].all():
            raise StepError("the network produced NaN or infinity; no action is given")

        self._episode.seen = origin
        cost += self.policy.head.cost(decoder, selection.plan, decoded)
        stages_ms = watch.stages_ms()
        decided = told["numbers"] if numbers.is_floating_point() else told["numbers"].astype(int)
        try:
            action = self.policy.decode_action(decided.tolist())
        except ActionError as error:
            raise StepError(f"{error}; no action is given") from error
        return StepResult(
            action=action,
            t=self.steps,
            invalidated=invalidated,
            report=report_of(
                selection, None if decoder.kept is None else decoder.kept.shape[0], told
            ),
            stages_ms=stages_ms,
            latency_ms=sum(stages_ms.values()),
            decoder_passes=cost.passes,
            flops=self._vision_flops + cost.flops + probe_flops_of(decoder, self._action_rows),
            macs=cost.macs,
            image=seen.image.cpu().numpy(),
        )

    def _normalised(self, state: ArrayLike | None) -> torch.Tensor | None:
        taken = self.policy.proprioception
        if taken is not None:
            return taken.normalise(state).to(self._device)
        if state is not None:
            raise PolicyError(f"a robot state was given, which {self.policy.name} does not take")
        return None

    def _act(
        self, decoder: PartialDecoder, visual: torch.Tensor, plan: TokenPlan,
        state: torch.Tensor | None, watch: Stopwatch,
    ) -> heads.Decision:
        assert self._text is not None
        draft = self._episode.draft if decoding(self.policy, self.options) == "window" else None
        prompt = torch.cat((self._bos, visual, self._text))
        options = self.options
        turn = heads.Turn(
            self.steps, draft, state, watch, options.euler_steps, options.accept_bins
        )
        return self.policy.head.act(decoder, prompt, plan, turn)

    def _unsure(self, decoded: heads.Decision) -> bool:
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
            depth=self._depth,
            ridge=self._ridge,
            state=self._episode.selector_state,
        ))

    def _remember(
        self, decoder: PartialDecoder, selection: Selection, visual: torch.Tensor,
        patches: torch.Tensor, draft: torch.Tensor | None,
    ) -> Memory:
        episode, fresh = self._episode, selection.plan.fresh
        if episode.memory is None or fresh.shape[0] == self._visual:
            episode.memory = Memory.of(visual, patches)
        else:
            episode.memory.refresh(fresh, visual, patches)
        if decoder.probe_layers:
            episode.attention = decoder.attention(self._action_rows)
        episode.selector_state = selection.state
        episode.draft = draft
        return episode.memory

    def _no_ages(self) -> torch.Tensor:
        return torch.zeros(self._visual, dtype=torch.int64, device=self._device)

    def _build(self, prompt: PromptTokens, selector: Selector) -> None:
        """A decoder for the prompt's length and the selector's probe; its cache starts empty. All
        of it or, where the policy or the selector raises, nothing."""
        head = self.policy.head
        ids = prompt.token_ids.to(self._device)
        words = prompt.instruction.nonzero().squeeze(-1).to(self._device)
        layout = head.layout(self._visual, ids.shape[0])
        needs = selector.needs(self._depth)
        layers = needs.resolve(self._depth)
        action_rows = head.action_rows_read(layout) if needs.action else 0
        with torch.inference_mode():
            bos, text = embed_prompt(self.policy, layout, ids)
            decoder = PartialDecoder(self.policy.backbone, layout, layers)
        self._measure(decoder, selector)
        self._prompt, self._words, self._text, self._bos = prompt, words, text, bos
        self._action_rows, self._decoder = action_rows, decoder

    def _measure(self, decoder: PartialDecoder, selector: Selector) -> None:
        """What depends on the machine or has no closed form; once, before the first step."""
        self._vision_flops = self._vision_flops or _vision_flops_of(self.policy)
        wanted = isinstance(selector, WithRefresh) and selector.wants_ridge
        self._ridge = ridge_of(decoder) if wanted else 0

    def _check_stamp(self, stamp_ns: int | None) -> None:
        last = self._episode.stamp_ns
        if stamp_ns is None:
            return  # the last one known stays: what comes after must not hide a gap behind it
        if last is not None and stamp_ns < last:
            self.reset("clock_backwards")
        elif last is not None and stamp_ns - last > self.options.frame_gap_limit_s * 1e9:
            self._episode.invalid = self._episode.invalid or "frame_gap"
        self._episode.stamp_ns = stamp_ns


_VISION_FLOPS: WeakKeyDictionary[PolicyAdapter, int] = WeakKeyDictionary()


def _vision_flops_of(policy: PolicyAdapter) -> int:
    """Counted once for all sessions of a policy: a server makes one for each client."""
    try:
        known = _VISION_FLOPS.get(policy, 0)
    except TypeError:  # a policy of others that cannot be a key
        return _counted_vision_flops(policy)
    if not known:
        known = _VISION_FLOPS[policy] = _counted_vision_flops(policy)
    return known


def _counted_vision_flops(policy: PolicyAdapter) -> int:
    blank = [np.zeros((224, 224, 3), dtype=np.uint8)] * policy.views
    with torch.inference_mode():
        pixels = policy.preprocess(blank).pixels
        return measure_flops(lambda: policy.embed_vision(pixels))


def decoding(policy: PolicyAdapter, options: SessionOptions) -> str:
    """How ``policy`` decodes under ``options``: greedy where it has no action tokens to verify."""
    with containing(policy, "its head"):
        return options.decode if policy.head.reads_output else "greedy"


def check_fit(policy: PolicyAdapter, selector: Selector, options: SessionOptions) -> None:
    """Raise SettingError for what a policy cannot do that acts by flow, or one by tokens."""
    with containing(policy, "its head"):
        misfit = _misfit(policy, selector, options)
    if misfit:
        raise SettingError(misfit)


def _depth_of(policy: PolicyAdapter) -> int:
    """Layers whose attention can be read: of a head that reads keys and values alone, the last
    layer's queries decide nothing."""
    return len(policy.backbone.layers) - (not policy.head.reads_output)


def _misfit(policy: PolicyAdapter, selector: Selector, options: SessionOptions) -> str:
    head, depth = policy.head, _depth_of(policy)
    needs = selector.needs(depth)
    try:
        needs.resolve(depth)
    except PlanError as error:
        return f"selector={selector.name!r} reads {error}"
    if selector.prunes and not head.reads_output:
        return (
            f"selector={selector.name!r} hides tokens, and {policy.name} acts by an expert that "
            "reads them all; choose one that reuses them (attention_drift, info_entropy, vla_cache)"
        )
    if needs.action and not head.action_rows_read(head.layout(1, 1)):
        return (
            f"{selector.name} is to read what action rows attend to, and the head of {policy.name} "
            "leaves none to read; set drift_rows to text, or choose another selector"
        )
    if head.reads_output:
        return "" if not options.euler_steps else (
            f"euler_steps={options.euler_steps}: {policy.name} acts by tokens and takes no "
            "Euler steps; set it to 0"
        )
    if options.accept_bins:
        return f"accept_bins={options.accept_bins}: {policy.name} has no action tokens; set it to 0"
    if options.entropy_gate > 0:
        return (
            f"entropy_gate={options.entropy_gate}: {policy.name} has no action tokens to measure "
            "the entropy of; set it to 0"
        )
    return ""
