# SPDX-License-Identifier: Apache-2.0
"""Does a policy see, listen and act sanely? Run before a robot moves.

A policy can load without an error and still be blind: OpenVLA's published code, under
transformers >= 4.50, answers every frame alike because its tower is never called. These checks
need no robot and no data set; they take a few steps' time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vla_infoentropy_ros.control.conventions import FRAMES, ROTATIONS
from vla_infoentropy_ros.foreign.text import MESSAGE, UserError, one_line, printable
from vla_infoentropy_ros.models.adapter import Action, PolicyAdapter, PolicyError
from vla_infoentropy_ros.models.json_fields import Fields
from vla_infoentropy_ros.models.load_options import (
    GRIPPER_CONVENTIONS,
    add_load_arguments,
)
from vla_infoentropy_ros.models.loading import load_asked
from vla_infoentropy_ros.models.motion_sense import (
    GRIPPER_ENDS,
    GRIPPER_SLACK,
    Reach,
    SenselessError,
    check_gripper_spread,
    check_gripper_statistics,
    check_increments,
    check_size,
)
from vla_infoentropy_ros.selection import build_selector
from vla_infoentropy_ros.session import Session, decide_alone
from vla_infoentropy_ros.session.alone import NoOwnPass, run_twice

# How far the engine's hidden states may be from the model's own, as a share of the largest.
_SAME, _SAME_HALF = 1e-2, 1e-1

# Tried in this order for a policy that names no example of its own.
INSTRUCTIONS = (
    "pick up the red block", "put the red cube on the blue plate",
    "pick up the milk and place it in the basket",
)
PICTURE = (240, 320, 3)  # a size that no tower has, so that resizing is tested too


@dataclass(frozen=True)
class Check:
    """One question to the policy. reason: what was seen, and on failure or doubt what to do.
    doubt: passed, but a person should look at it."""

    name: str
    passed: bool
    reason: str
    doubt: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", printable(self.reason, MESSAGE))


@dataclass(frozen=True)
class SelfTestReport:
    """All checks in the order they ran; those after a failed one that they build on are left
    out."""

    policy: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """Every failure in one line; "" when there is none."""
        return "; ".join(f"{c.name}: {c.reason}" for c in self.checks if not c.passed)

    def table(self) -> str:
        """For a terminal."""
        width = max(len(check.name) for check in self.checks)
        lines = [
            f"  {_verdict(check)}  {check.name:{width}}  {check.reason}" for check in self.checks
        ]
        verdict = "passed" if self.passed else "FAILED: this policy must not move a robot"
        return "\n".join([f"self-test of {printable(self.policy)}", *lines, f"  {verdict}"])


def _verdict(check: Check) -> str:
    return "FAIL" if not check.passed else "warn" if check.doubt else "pass"


class _Failed(Exception):
    """A check's negative answer."""


class _Doubtful(Exception):
    """A check's answer that is for a person to judge."""


def run_selftest(policy: PolicyAdapter, instruction: str = "") -> SelfTestReport:
    """Ask ``policy`` all questions; never raises for what the policy gets wrong.

    instruction: words the policy knows; "" takes its own example.
    """
    probe = _Probe(policy, instruction or example_instruction(policy))
    questions: tuple[Callable[[], str], ...] = (
        probe.norm_key, probe.convention, probe.training_set, probe.prompt, probe.vocabulary,
        probe.vision, probe.layers, probe.image_matters, probe.instruction_matters,
        probe.state_matters, probe.repeatable, probe.tower_calls, probe.action, probe.increments,
        probe.gripper,
    )
    checks: list[Check] = []
    for question in questions:
        name = question.__name__.replace("_", " ")
        try:
            checks.append(Check(name, True, question()))
        except _Doubtful as doubt:
            checks.append(Check(name, True, str(doubt), doubt=True))
        except (_Failed, SenselessError) as failure:
            checks.append(Check(name, False, str(failure)))
            if question in (probe.prompt, probe.vocabulary, probe.vision):
                break  # the rest would only fail by this
        except Exception as error:  # whatever the policy raises here is its answer
            checks.append(Check(name, False, one_line(f"{type(error).__name__}: {error}")))
            break
    return SelfTestReport(f"{policy.name} ({policy.revision})", tuple(checks))


class _Probe:
    """The questions. Each returns what was seen or raises _Failed with what is wrong."""

    def __init__(self, policy: PolicyAdapter, instruction: str) -> None:
        self.policy, self.instruction = policy, instruction
        self._answers: dict[tuple[int, str, float], torch.Tensor] = {}
        self._last: list[Action] = []

    def norm_key(self) -> str:
        key, stats = self.policy.norm_key, getattr(self.policy, "norm_stats", None)
        if not key:
            raise _Failed("no statistics chosen; set unnorm_key")
        if stats is not None and key not in stats:
            raise _Failed(f"{key!r} is not among {', '.join(sorted(stats))}")
        return key

    def convention(self) -> str:
        convention = self.policy.convention
        if convention.gripper not in GRIPPER_CONVENTIONS:
            raise _Failed(f"gripper={convention.gripper!r}; known: {GRIPPER_CONVENTIONS}")
        for part, known in (("frame", FRAMES), ("rotation", ROTATIONS)):
            if getattr(convention, part) not in known:
                raise _Failed(f"{part}={getattr(convention, part)!r}; known: {known}")
        if not 0.0 < convention.control_period_s <= 10.0:
            raise _Failed(f"control_period_s={convention.control_period_s}")
        return (
            f"{convention.rotation}, {convention.gripper}, frame {convention.frame}, "
            f"{convention.control_period_s:.3g} s"
        )

    def training_set(self) -> str:
        if assumed := getattr(self.policy, "assumed", ""):
            raise _Doubtful(assumed)
        return "nothing had to be assumed"

    def prompt(self) -> str:
        tokens = self.policy.tokenize(self.instruction)
        count, words = tokens.token_ids.shape[0], int(tokens.instruction.sum())
        if tokens.token_ids.shape != tokens.instruction.shape or not 0 < words < count:
            raise _Failed(
                f"{words} of {count} text tokens are marked as the instruction's; selection by "
                "attention needs some, and the template around them"
            )
        try:
            self.policy.tokenize(" ")
        except PolicyError:
            return f"{count} text tokens, {words} of them the instruction"
        raise _Failed("an empty instruction is accepted")

    def vocabulary(self) -> str:
        rows = int(self.policy.backbone.embed_tokens.weight.shape[0])
        text = self.policy.tokenize(self.instruction).token_ids
        highest = max(int(text.max()), self.policy.bos_token_id)
        codec = getattr(self.policy, "codec", None)
        if codec is not None:
            highest = max(highest, codec.vocab_size - 1)
            if codec.vocab_size - codec.bins <= self.policy.bos_token_id:
                raise _Failed(f"{codec.bins} action tokens do not fit into {codec.vocab_size}")
        if highest >= rows:
            raise _Failed(
                f"token {highest} is used, but the model has {rows}; the tokenizer belongs to "
                "another checkpoint"
            )
        return f"highest token {highest} of {rows}"

    def vision(self) -> str:
        rows = self.policy.views * self.policy.grid[0] * self.policy.grid[1]
        wanted = (rows, int(self.policy.backbone.config.hidden_size))
        visual = self._embed(0)
        if tuple(visual.shape) != wanted:
            raise _Failed(f"visual embeddings {tuple(visual.shape)}, must be {wanted}")
        if not bool(torch.isfinite(visual).all()):
            raise _Failed("visual embeddings hold NaN or infinity; try dtype=bfloat16 or float32")
        return f"{rows} embeddings of width {wanted[1]}"

    def layers(self) -> str:
        """The engine runs a Llama's layers by itself: a model with more in them passes unseen."""
        policy, head = self.policy, self.policy.head
        if not head.reads_output:
            return "not asked: the action is not read from the language model's output"
        ids = policy.tokenize(self.instruction).token_ids
        try:
            own, engine = run_twice(policy, self._embed(0), ids)
        except NoOwnPass:
            return "not asked: the backbone cannot be run by itself on inputs_embeds"
        if not bool(torch.isfinite(own).all()):
            return "not asked: the backbone's own hidden states are not finite"
        most = _SAME if own.dtype == torch.float32 else _SAME_HALF
        difference = float((engine - own).abs().max() / own.abs().max())
        if not difference <= most:
            raise _Failed(
                f"the engine's hidden states differ from the backbone's own by {difference:.2g} of "
                "the largest: its layers are more than a Llama's (a sliding window, norms of "
                "queries and keys, scaled residuals), and would be run without that"
            )
        return f"the engine's hidden states are the backbone's own within {difference:.1g}"

    def image_matters(self) -> str:
        black, white = self._answer(0), self._answer(255)
        if not bool(torch.isfinite(torch.stack([black, white])).all()):
            raise _Failed("the answer holds NaN or infinity; try dtype=bfloat16 or float32")
        difference = float((black - white).abs().max())
        if difference == 0.0:
            raise _Failed(
                "a black and a white frame give the same answer: the image does not reach the "
                "language model"
            )
        return f"black and white frames differ by {difference:.3g} in the answer"

    def instruction_matters(self) -> str:
        words = self.instruction.split()
        other = " ".join(reversed(words)) if len(set(words)) > 1 else f"{words[0]} {words[0]}"
        difference = float((self._answer(0) - self._answer(0, other)).abs().max())
        if difference == 0.0:
            raise _Failed(
                f"{other!r} gives the same answer as {self.instruction!r}: the instruction does "
                "not reach the language model"
            )
        return f"the same words in another order differ by {difference:.3g} in the answer"

    def state_matters(self) -> str:
        if self.policy.proprioception is None:
            return "not asked: the policy takes no robot state"
        difference = float((self._answer(0) - self._answer(0, away=1.0)).abs().max())
        if difference == 0.0:
            raise _Failed("another robot state gives the same answer: it does not reach the action")
        return f"a robot state one scale away differs by {difference:.3g} in the answer"

    def repeatable(self) -> str:
        first = self._answer(0)
        self._answers.clear()
        difference = float((self._answer(0) - first).abs().max())
        if difference > 1e-2 * float(first.abs().max()):
            raise _Failed(f"the same frame twice differs by {difference:.3g} in the answer")
        return f"the same frame twice differs by {difference:.3g}"

    def tower_calls(self) -> str:
        counted = _CountingPolicy(self.policy)
        tower = getattr(self.policy, "vision_tower", None)
        inner: list[None] = []
        hook = None if tower is None else tower.register_forward_hook(
            lambda *_: inner.append(None)
        )
        try:
            session = Session(counted, build_selector("dense"))
            session.set_instruction(self.instruction)
            counted.calls = 0  # building a session may measure the tower; frames are what counts
            inner.clear()
            state = neutral_state(self.policy)
            session.step(self._pictures(0), state=state)
            self._last = [session.step(self._pictures(255), state=state).action]
        finally:
            if hook is not None:
                hook.remove()
        if counted.calls != 2 or (hook is not None and len(inner) != 2):
            seen = f", its tower {len(inner)} times" if hook is not None else ""
            raise _Failed(f"2 frames called the vision embedding {counted.calls} times{seen}")
        return "once per frame"

    def action(self) -> str:
        if not self._last:
            raise _Failed("the step before gave no action")
        extremes = [*self._last, *(self.policy.decode_action(ids) for ids in self._extremes())]
        for action in extremes:
            if action.values.shape != (7,) or not np.isfinite(action.values).all():
                raise _Failed(f"action {action.values}: must be 7 finite numbers")
        reach = self._reach()
        if reach is None:  # of no known range: the actions that were seen
            seen = np.stack([action.values for action in extremes])
            reach = Reach(seen.min(axis=0), seen.max(axis=0))
        return check_size(reach, self.policy.convention.control_period_s)

    def increments(self) -> str:
        reach = self._reach()
        return check_increments(reach) if reach else "not asked: the range of actions is not known"

    def gripper(self) -> str:
        lowest, highest = (float(action.values[6]) for action in self._ends())
        convention = self.policy.convention.gripper
        stats = getattr(self.policy, "norm_stats", {})
        if self.policy.norm_key in stats:
            action = Fields("statistics", stats).object(self.policy.norm_key).object("action")
            check_gripper_statistics(action, convention)
        if recorded := getattr(self.policy, "gripper_recorded", None):
            mean, std, taken_for = recorded
            check_gripper_spread(mean, std, taken_for, convention)
        low, high = GRIPPER_ENDS[convention]
        values = sorted((lowest, highest))
        if lowest == highest:
            raise _Failed(f"every token gives gripper {lowest:.2f}; the statistics fix it")
        if abs(values[0] - low) > GRIPPER_SLACK or abs(values[1] - high) > GRIPPER_SLACK:
            raise _Failed(
                f"gripper reaches {values[0]:.2f}..{values[1]:.2f}, {convention} is "
                f"{low:.0f}..{high:.0f}; choose another gripper convention or statistics"
            )
        return f"{values[0]:.2f}..{values[1]:.2f} as {convention}"

    def _reach(self) -> Reach | None:
        return Reach.of(self.policy) if hasattr(self.policy, "encode_action") else None

    def _extremes(self) -> list[Any]:
        encode = getattr(self.policy, "encode_action", None)
        return [] if encode is None else [encode(np.full(7, end)) for end in (-1.0, 1.0)]

    def _ends(self) -> tuple[Action, Action]:
        ids = self._extremes()
        if not ids:  # nobody to ask: the ends of the language model's vocabulary
            rows = int(self.policy.backbone.config.vocab_size)
            ids = [[rows - 1] * 7, [0] * 7]
        first, second = (self.policy.decode_action(row) for row in ids)
        return first, second

    def _pictures(self, level: int) -> list[NDArray[np.uint8]]:
        return [np.full(PICTURE, level, dtype=np.uint8)] * self.policy.views

    def _embed(self, level: int) -> torch.Tensor:
        with torch.inference_mode():
            return self.policy.embed_vision(self.policy.preprocess(self._pictures(level)).pixels)

    def _answer(self, level: int, instruction: str = "", away: float = 0.0) -> torch.Tensor:
        """The numbers that the action is read from, of one step with nothing reused.

        away: of a robot state, from the middle of those trained with, in its scale.
        """
        asked = (level, instruction or self.instruction, away)
        if asked not in self._answers:
            decided = decide_alone(self.policy, self._pictures(level), asked[1], away)
            self._answers[asked] = decided.evidence()
        return self._answers[asked]


class _CountingPolicy:
    """The policy itself, except that calls of ``embed_vision`` are counted."""

    def __init__(self, policy: PolicyAdapter) -> None:
        self._policy, self.calls = policy, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)  # everything else is the policy's

    def embed_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self._policy.embed_vision(pixels)


def neutral_state(policy: PolicyAdapter) -> NDArray[np.float64] | None:
    """The middle of the robot states that a policy was trained with; None for one without."""
    return None if policy.proprioception is None else policy.proprioception.offset


def example_instruction(policy: PolicyAdapter) -> str:
    """An instruction that the policy understands; the last one tried where it knows none."""
    own = getattr(policy, "example_instruction", "")
    candidates = (own,) if own else INSTRUCTIONS
    for text in candidates:
        try:
            policy.tokenize(text)
        except Exception:  # noqa: S112 - whatever it raises, it does not know these words
            continue
        return str(text)
    return str(candidates[-1])


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m vla_infoentropy_ros selftest``: 0 passed, 1 failed or not loadable."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros selftest", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--instruction", default="", help="words that the policy knows")
    add_load_arguments(parser)
    args = parser.parse_args(argv)
    try:
        policy = load_asked(args)
    except (UserError, OSError) as error:
        print(f"self-test of {printable(args.model)}\n  FAIL  loading  {printable(error, MESSAGE)}")
        return 1
    report = run_selftest(policy, args.instruction)
    print(report.table())
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
