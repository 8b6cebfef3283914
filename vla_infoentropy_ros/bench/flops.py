# SPDX-License-Identifier: Apache-2.0
"""What a step of OpenVLA-7B costs under every preset, by both counters.

The numbers of a preset are those of its file in ``config/``; how many passes it takes to verify a
draft is no number of the model, and stands as ``bench steps`` measured it on the tabletop.

The papers publish totals, not the token counts that led to them. Each total is one equation, so
one number per preset is fitted here, which confirms nothing; everything else that enters is listed
as assumed. What follows without the totals, and may contradict them, is in `bench.published`.
No weights are needed: shapes come from the 7B model on the meta device, and the closed form is
held against torch's FLOP counter on the engine itself, run there.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import torch
import yaml

from vla_infoentropy_ros.bench.published import (
    PUBLISHED,
    dense_range,
    predictions,
    print_check,
)
from vla_infoentropy_ros.bench.random_policy import OPENVLA_7B
from vla_infoentropy_ros.bench.real_frames import counted
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.engine import heads
from vla_infoentropy_ros.engine.flops import (
    Pass,
    StepFlops,
    greedy_passes,
    measure_flops,
    papers_macs,
    prefill_rows,
    probe_flops,
    step_flops,
    window_passes,
)
from vla_infoentropy_ros.engine.layout import Layout
from vla_infoentropy_ros.engine.partial_decoder import PartialDecoder
from vla_infoentropy_ros.engine.plan import Pruning, Stage, TokenPlan
from vla_infoentropy_ros.engine.shape import LlamaShape
from vla_infoentropy_ros.models.openvla.config import OpenVLAConfig
from vla_infoentropy_ros.models.openvla.modeling import OpenVLAModel
from vla_infoentropy_ros.selection import SelectionSettings, build_selector
from vla_infoentropy_ros.selection.settings import scaled_layer
from vla_infoentropy_ros.session import SessionOptions
from vla_infoentropy_ros.share import share_directory

VISUAL, ACTION = 256, 7
_ASSUMED_PASSES = 2
_RECORDINGS = "test/data/bags/bridge_*"  # real cameras


@dataclass(frozen=True)
class Preset:
    """fresh: (layer, visual tokens recomputed from there on), rising layers, the first at 0.
    selector, settings: whose attention probe runs. pruned_at: layer from which the tokens that
    are not fresh are gone, 0 for reuse. passes: of the language model, a mean; 7 for greedy.
    assumed: nobody measured them."""

    fresh: tuple[tuple[int, int], ...]
    selector: str
    notes: tuple[str, ...]
    settings: SelectionSettings | None = None
    decode: str = "greedy"
    passes: float = ACTION
    assumed: bool = False
    pruned_at: int = 0

    def per_layer(self, layers: int) -> list[int]:
        return [
            [count for layer, count in self.fresh if layer <= index][-1] for index in range(layers)
        ]


def solve(total: float, macs: Callable[[int], int], low: int, high: int) -> int:
    """The integer in [low, high] whose ``macs`` come nearest to ``total``."""
    return min(range(low, high + 1), key=lambda value: abs(macs(value) - total))


def read_config(path: Path) -> tuple[SelectionSettings, SessionOptions]:
    """Settings of a parameter file of the policy node; what it leaves out keeps its default."""
    named = yaml.safe_load(path.read_text(encoding="utf-8"))["/**"]["ros__parameters"]
    settings = PolicyNodeSettings.from_values(named)
    return settings.selection, settings.session


def measured_passes(share: Path) -> dict[str, float]:
    """Mean passes of every variant of ``bench steps``; none outside a checkout."""
    record = share / "docs" / "results" / "steps.json"
    if not record.is_file():
        return {}
    variants = json.loads(record.read_text(encoding="utf-8"))["variants"]
    return {name: float(row["passes"]) for name, row in variants.items()}


def presets(
    shape: LlamaShape, text: int, config: Path, passes: Mapping[str, float]
) -> dict[str, Preset]:
    """Every preset. text: number of text tokens behind the visual ones. config: folder of the
    parameter files. passes: measured means by variant."""

    def macs(fresh: tuple[tuple[int, int], ...]) -> int:
        counts = Preset(fresh, "dense", ()).per_layer(shape.layers)
        return papers_macs(prefill_rows(counts, VISUAL, text), shape.width, shape.mlp_width)

    def layer(number: int) -> int:
        return scaled_layer(number, shape.layers)

    def reusing(tokens: int, from_layer: int) -> tuple[tuple[int, int], ...]:
        later = (layer(from_layer), VISUAL - tokens)
        return ((0, VISUAL), later) if later[0] else (later,)

    def staged(tokens: int) -> tuple[tuple[int, int], ...]:
        numbers = cached.cache_layers
        return ((0, VISUAL), *(
            (layer(number), VISUAL - round(place / len(numbers) * tokens))
            for place, number in enumerate(numbers, 1)
        ))

    def verified(preset: Preset, variant: str) -> Preset:
        known = passes.get(variant)
        note = (
            f"measured: {known:.2f} passes on average on the tabletop ({variant})" if known else
            f"assumed: {_ASSUMED_PASSES} passes, since none are measured (1 at best, 7 at worst)"
        )
        return replace(preset, decode="window", passes=known or _ASSUMED_PASSES,
                       assumed=not known, notes=(*preset.notes, note))

    def fixed(name: str, selector: str) -> tuple[Preset, SessionOptions]:
        settings, options = read_config(config / name)
        count = settings.fresh_tokens
        note = (f"ours, config/{name}: {count} tokens recomputed, all others reused from layer 0 "
                "on, BOS too")
        return Preset(((0, count),), selector, (note,), settings), options

    cached, _ = read_config(config / "paper_vla_cache.yaml")
    info, _ = read_config(config / "paper_infoentropy.yaml")
    pruner, _ = read_config(config / "paper_vla_pruner.yaml")
    start = info.reuse_from_layer
    paper = solve(PUBLISHED["paper_infoentropy"], lambda r: macs(reusing(r, start)), 0, VISUAL)
    flat = solve(PUBLISHED["paper_vla_cache"], lambda r: macs(reusing(r, start)), 0, VISUAL)
    cache = solve(PUBLISHED["paper_vla_cache"], lambda r: macs(staged(r)), 0, VISUAL)
    prompt = f"fitted: {text} text tokens, so n = 1 + {VISUAL} + {text} = {1 + VISUAL + text}"
    kept = round(VISUAL * (1.0 - pruner.prune_ratio))
    dense = Preset(((0, VISUAL),), "dense", ())
    drift, _ = fixed("policy.yaml", "attention_drift")
    known = {
        "dense": replace(dense, notes=(f"{prompt} (the papers name no prompt length)",)),
        "paper_vla_cache": Preset(staged(cache), "vla_cache", (
            f"assumed: sets begin at layers {', '.join(map(str, cached.cache_layers))} (released "
            "code), nested, with equal steps up to the whole reuse set",
            "the steps follow each frame's attention entropy and are not published",
            f"fitted: a reuse set of {cache} tokens on average, of at most {cached.cache_static} "
            f"static ones; one set of {flat} from layer {start} on gives the same total",
            "the dense first frame of every episode, which their mean includes, is left out"),
            cached),
        "paper_infoentropy": Preset(reusing(paper, start), "info_entropy", (
            f"assumed: one reuse set from layer {start} on (the paper says neither layer nor set "
            "sizes)",
            f"fitted: {paper} tokens reused on average, of at most {info.static_cap} static ones; "
            f"up to {info.k1 + info.k2} are important at k1 = {info.k1}, k2 = {info.k2}",
            "the dense first frame of every episode is left out"),
            info),
        "paper_vla_pruner": Preset(((0, VISUAL), (layer(pruner.prune_layer), kept)), "vla_pruner", (
            f"keeps {kept} of {VISUAL} tokens (prune_ratio {pruner.prune_ratio}), pruned at layer "
            f"{pruner.prune_layer}",
            "true FLOPs are the engine's, which masks pruned keys instead of moving the rest"),
            pruner, pruned_at=layer(pruner.prune_layer)),
        "attention_drift": drift,
        "attention_drift_window": verified(drift, "attention_drift+window"),
        "dense_window": verified(dense, "dense+window"),
    }
    if (config / "half_drift.yaml").is_file():
        half, options = fixed("half_drift.yaml", "info_entropy")
        window = options.decode == "window"
        known["half_drift"] = verified(half, "half_drift+window") if window else half
    return known


class Counter:
    """Both counters of a preset, on the shapes of one model."""

    def __init__(self, config: OpenVLAConfig, text: int) -> None:
        self.shape = LlamaShape.of(config.llama)
        self.layout = Layout(VISUAL, text, ACTION)
        self.vision, self.projector = config.vision_flops()

    def macs(self, preset: Preset) -> int:
        """The papers' counter: rows that enter each layer, drafts left out."""
        rows = prefill_rows(preset.per_layer(self.shape.layers), VISUAL, self.layout.text)
        return papers_macs(rows, self.shape.width, self.shape.mlp_width)

    def flops(self, preset: Preset) -> StepFlops:
        """The engine's true FLOPs, in closed form; of a mean number of passes, their mean."""
        fewer = math.floor(preset.passes)
        share = preset.passes - fewer
        low, high = (self._whole(replace(preset, passes=fewer + more)) for more in (0, 1))
        return StepFlops(*(
            round(a + share * (b - a)) for a, b in zip(astuple(low), astuple(high), strict=True)
        ))

    def _whole(self, preset: Preset) -> StepFlops:
        layout, shape = self.layout, self.shape
        probed = self._probed(preset)
        draft = ACTION - 1 if preset.decode == "window" else 0
        further: tuple[Pass, ...] = (
            window_passes(layout.prompt, ACTION, int(preset.passes) - 1)
            if draft else greedy_passes(layout.prompt, ACTION)
        )
        rows = prefill_rows(preset.per_layer(shape.layers), VISUAL, layout.text + draft)
        keys = layout.prompt + draft
        step = step_flops(
            shape, rows, keys, further, head_rows=ACTION if draft else 1,
            probe_rows=layout.text + ACTION - 1, probe_layers=len(probed),
            vision=self.vision, projector=self.projector,
        )
        if preset.pruned_at:  # the choice reads all rows' attention in the layer before
            choice = probe_flops(shape, 1, rows[preset.pruned_at - 1], keys)
            step = replace(step, probe=step.probe + choice)
        return step

    def measured(self, preset: Preset, model: OpenVLAModel) -> int:
        """What torch's counter sees when the engine runs the preset on the meta device; with a
        whole number of passes."""
        layout, meta = self.layout, torch.device("meta")
        decoder = PartialDecoder(model.language_model.model, layout, self._probed(preset))
        draft = ACTION - 1 if preset.decode == "window" else 0
        (_, first), *later = preset.fresh
        stages = [Stage(0, torch.arange(first, device=meta))]
        pruning = None
        if preset.pruned_at:
            kept = torch.arange(later[0][1], device=meta)
            pruning = Pruning(preset.pruned_at, lambda attention: kept)
        else:
            stages += [Stage(layer, torch.arange(count, device=meta)) for layer, count in later]
        plan = TokenPlan(tuple(stages), pruning)
        sequence = torch.zeros(
            1, layout.prompt + draft, self.shape.width, device=meta, dtype=torch.bfloat16
        )
        pixels = torch.zeros(1, 6, 224, 224, device=meta, dtype=torch.bfloat16)

        @torch.inference_mode()
        def run() -> None:
            model.embed_vision(pixels)
            hidden = decoder.prefill(sequence, plan)
            if draft:  # heads.window compares values, which meta tensors do not have
                model.language_model.lm_head(hidden[:, layout.text - 1 :])
                for _ in range(int(preset.passes) - 1):
                    rows = decoder.extend(hidden[:, -draft:], layout.prompt)
                    model.language_model.lm_head(rows)
            else:
                heads.greedy(decoder, model.language_model.lm_head, hidden)
            if decoder.probe_layers:
                decoder.attention(ACTION - 1)

        return measure_flops(run)

    def _probed(self, preset: Preset) -> tuple[int, ...]:
        depth = self.shape.layers
        selector = build_selector(preset.selector, settings=preset.settings)
        return selector.needs(depth).resolve(depth)


def text_tokens(shape: LlamaShape) -> int:
    """Text tokens that make the dense prefill the published 1.864 T."""
    return solve(
        PUBLISHED["dense"],
        lambda text: papers_macs(
            [1 + VISUAL + text] * shape.layers, shape.width, shape.mlp_width
        ),
        1, 200,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m vla_infoentropy_ros bench flops``: 1 when a published total is contradicted (see
    `bench.published`) or cannot be fitted to 1 %, or the two countings of true FLOPs disagree."""
    config = OpenVLAConfig.from_mapping(OPENVLA_7B)
    shape = LlamaShape.of(config.llama)
    text = text_tokens(shape)
    share = share_directory()
    passes = measured_passes(share)
    known = presets(shape, text, share / "config", passes)
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros bench flops", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--preset", action="append", choices=[*known, "all"],
                        help="may be repeated; default all")
    parser.add_argument("--recordings", nargs="*", type=Path, metavar="BAG",
                        help="count reuse on their frames, to predict the totals (default: those "
                        f"of a checkout, {_RECORDINGS})")
    parser.add_argument("--skip-check", action="store_true",
                        help="do not run the engine on the meta device (some seconds a preset)")
    args = parser.parse_args(argv)
    names = list(known) if not args.preset or "all" in args.preset else args.preset

    counter = Counter(config, text)
    dense = counter.macs(known["dense"]), counter.flops(known["dense"]).total
    print(f"OpenVLA-7B, one step: {shape.layers} layers, d {shape.width}, m {shape.mlp_width}; "
          f"1 BOS + {VISUAL} visual + {text} text tokens, {ACTION} action tokens\n")
    failed = [name for name in names if not _print_macs(name, known[name], counter, dense[0])]
    print("\ntrue FLOPs (2 x MACs), 1e12, whole step\n"
          f"  {'preset':24}{'vision':>8}{'project':>8}{'prefill':>8}{'probe':>8}{'decode':>8}"
          f"{'head':>8}{'total':>8}  of dense" + ("  passes" if passes else ""))
    for name in names:
        step = counter.flops(known[name])
        parts = (step.vision, step.projector, step.prefill, step.probe, step.decode, step.lm_head,
                 step.total)
        print(f"  {name:24}" + "".join(f"{part / 1e12:8.3f}" for part in parts)
              + f"{step.total / dense[1]:10.1%}" + (_passes(known[name]) if passes else ""))
    bags = sorted(share.glob(_RECORDINGS)) if args.recordings is None else args.recordings
    failed += _contradicted(share / "config", known, counter, bags)
    print("\nwhat was assumed and what was fitted")
    for name in names:
        print(f"  {name}: " + f"\n  {' ' * len(name)}  ".join(known[name].notes))
    if not args.skip_check:
        failed += _check(names, known, counter, config)
    return 1 if failed else 0


def _contradicted(
    config: Path, known: Mapping[str, Preset], counter: Counter, bags: Sequence[Path]
) -> list[str]:
    info, _ = read_config(config / "paper_infoentropy.yaml")
    cache, _ = read_config(config / "paper_vla_cache.yaml")
    shape = counter.shape

    def dense(text: int) -> int:
        return papers_macs([1 + VISUAL + text] * shape.layers, shape.width, shape.mlp_width)

    def reusing(name: str) -> Callable[[int], int]:
        """MACs of a preset whose stages are scaled to another reuse set."""
        preset = known[name]
        whole = VISUAL - preset.fresh[-1][1]

        def macs(tokens: int) -> int:
            return counter.macs(replace(preset, fresh=tuple(
                (layer, VISUAL - round((VISUAL - count) * tokens / whole))
                for layer, count in preset.fresh
            )))

        return macs

    on_frames = counted(bags, {"paper_infoentropy": info, "paper_vla_cache": cache})
    found = predictions(
        info, cache, VISUAL, reusing("paper_infoentropy"), reusing("paper_vla_cache"), on_frames)
    fitted = {name: VISUAL - known[name].fresh[-1][1] for name in PUBLISHED}
    return print_check(*dense_range(dense), found, fitted)


def _passes(preset: Preset) -> str:
    return f"{'-':>8}" if preset.assumed else f"{preset.passes:8.2f}"


def _print_macs(name: str, preset: Preset, counter: Counter, dense: int) -> bool:
    """One line of the papers' counter; false when it misses the published total by over 1 %."""
    macs, published = counter.macs(preset), PUBLISHED.get(name)
    stages = ", ".join(f"{count} from layer {layer}" for layer, count in preset.fresh)
    line = f"  {name:24}{macs / 1e12:7.3f} T  {macs / dense:6.1%} of dense"
    if published is None:
        print(f"{line}  {'':28}visual rows: {stages}")
        return True
    error = macs / published - 1
    verdict = "fitted" if abs(error) <= 0.01 else "MISSED"
    print(f"{line}  published {published / 1e12:.3f} ({error:+.2%} {verdict})  "
          f"visual rows: {stages}")
    return abs(error) <= 0.01


def _check(
    names: Sequence[str], known: dict[str, Preset], counter: Counter, config: OpenVLAConfig
) -> list[str]:
    with torch.device("meta"):
        model = OpenVLAModel(config).to(torch.bfloat16).eval()
    print("\nclosed form against torch's FLOP counter, engine run on the meta device")
    failed = []
    for name in names:
        whole = replace(known[name], passes=math.ceil(known[name].passes))
        closed, measured = counter.flops(whole).total, counter.measured(whole, model)
        equal = closed == measured
        print(f"  {name:24}{closed:>20,} {'==' if equal else '!='} {measured:,}")
        failed += [] if equal else [name]
    return failed
