# SPDX-License-Identifier: Apache-2.0
"""The steps that LeRobot saved to run before and after a policy: each is done here, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.json_fields import Fields, read_json
from vla_infoentropy_ros.models.lerobot.features import ACTION, STATE
from vla_infoentropy_ros.models.lerobot.statistics import (
    EPSILON,
    MIGRATE,
    MODES,
    Scaling,
    read_scaling,
    unscaled,
)

PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
RENAME, TOKENIZE = "rename_observations_processor", "tokenizer_processor"
NORMALIZE, UNNORMALIZE = "normalizer_processor", "unnormalizer_processor"
# They move numbers and change none.
PASSIVE = frozenset({"to_batch_processor", "device_processor"})
# Later releases of LeRobot save them whether they do something or not.
IDLE = frozenset({"relative_actions_processor", "absolute_actions_processor"})
_SCALES = frozenset({"eps", "features", "norm_map", "normalize_observation_keys"})
# What is read of the config of a step that acts; a step that ends prompts has none.
READ = {
    RENAME: frozenset({"rename_map"}),
    TOKENIZE: frozenset({
        "max_length", "task_key", "padding_side", "padding", "truncation", "tokenizer_name",
    }),
    NORMALIZE: _SCALES, UNNORMALIZE: _SCALES,
}
WHERE = frozenset({"device", "dtype"})  # of the numbers, not what they are

Chains = tuple[tuple[str, ...], ...]


def chains_before(line_end: str) -> Chains:
    """What acts before a policy. line_end: name of the step that ends its prompts."""
    return (RENAME, NORMALIZE), (line_end, TOKENIZE)


CHAINS_AFTER: Chains = ((UNNORMALIZE,),)


@dataclass(frozen=True)
class ProcessorSteps:
    """The steps that LeRobot runs before or after a policy. acting: by name, those that change
    what it sees or means."""

    path: Path
    acting: dict[str, Fields]

    @classmethod
    def read(cls, path: Path, chains: Chains) -> ProcessorSteps:
        """chains: names of the steps that act, those of one chain in the order in which LeRobot
        would do what is done here. Raises PolicyError for other steps, for one that is missing,
        there twice or out of its order, and for settings of one that are not read."""
        if not path.is_file():
            raise PolicyError(
                f"{path} is missing, so nothing says by what numbers were normalised; {MIGRATE}"
            )
        fields = Fields(path.name, read_json(path))
        count = fields.values.get("steps")
        wanted, acting = {name for chain in chains for name in chain}, {}
        for step in fields.objects("steps", len(count) if isinstance(count, list) else 0):
            name = step.text("registry_name", "")
            if not _acts(path, step, name, wanted):
                continue
            if name in acting:
                raise PolicyError(f"{path} has 2 steps {name}, must be one; {MIGRATE}")
            _check_keys(step.object("config", {}), name)
            acting[name] = step
        for chain in chains:
            _check_chain(path, chain, list(acting))
        return cls(path, acting)

    def config(self, name: str) -> Fields:
        """Of the step of that name."""
        return self.acting[name].object("config")

    def renamed(self, cameras: tuple[str, ...]) -> tuple[str, ...]:
        """The cameras by the names that the robot knew them by, where a step renames them."""
        names: dict[str, Any] = {}
        if RENAME in self.acting:
            names |= self.config(RENAME).object("rename_map", {}).values
        before = {str(new): str(old) for old, new in names.items()}
        return tuple(before.get(camera, camera) for camera in cameras)

    def check_prompt(self, most_tokens: int, origin: str) -> None:
        """Raise PolicyError for a tokenizer that is run otherwise than here. most_tokens: of
        config.json. origin: the model whose tokenizer is meant."""
        step = self.config(TOKENIZE)
        if step.integer("max_length", 512) != most_tokens:
            step.refuse("max_length", f"{most_tokens}, config.json's tokenizer_max_length")
        if not step.flag("truncation", True):
            step.refuse("truncation", "true, as LeRobot writes it")
        step.choice("task_key", ("task",), "task")
        step.choice("padding_side", ("right",), "right")
        step.choice("padding", ("max_length", "longest"), "max_length")  # padding is seen by none
        step.choice("tokenizer_name", (origin,), origin)

    def scaling(self, step: str, feature: str, kind: str, size: int) -> Scaling:
        """How the step of that name (un)normalises a feature of so many numbers; kind: STATE or
        ACTION."""
        settings = self.config(step)
        if kind != "ACTION":  # those are told by name alone
            _check_features(settings, feature)
        norms = settings.object("norm_map")
        mode = norms.choice(kind, ("MEAN_STD", "IDENTITY", *MODES))
        norms.choice("VISUAL", ("IDENTITY",), "IDENTITY")  # the pictures are scaled as they are
        chosen = "normalize_observation_keys"  # of all that is no action; without it all of them
        if kind != "ACTION" and settings.has(chosen) and feature not in settings.texts(chosen):
            settings.refuse(chosen, f"a list with {feature}, or absent")
        epsilon = settings.number("eps", EPSILON)
        if mode == "IDENTITY":
            return unscaled(size)
        return read_scaling(
            self.path, self.statistics(step), step, feature, mode, size, epsilon
        )

    def statistics(self, step: str) -> str:
        """The file that the step of that name has them in, "" for none."""
        return self.acting[step].text("state_file", "")


def _acts(path: Path, step: Fields, name: str, wanted: set[str]) -> bool:
    """Whether a step changes anything. Raises PolicyError for one that may, and is none of
    ``wanted``."""
    if name in PASSIVE:
        return False
    if name in IDLE:
        settings = step.object("config", {})
        if settings.flag("enabled", False):
            settings.refuse("enabled", f"false for {name}, which is not built in")
        return False
    if name not in wanted:
        known = ", ".join(sorted(wanted | PASSIVE | IDLE))
        raise PolicyError(
            f"{path}: the step {shown(name)} is not known here; name a checkpoint without it "
            f"(known: {known})"
        )
    return True


def _check_keys(settings: Fields, name: str) -> None:
    """Each setting of a step that acts is read, or cannot change what it does."""
    if settings.values.get("stats"):  # LeRobot takes them and leaves the file unread
        settings.refuse("stats", "absent: statistics belong into the step's state_file")
    for key in sorted(settings.values.keys() - READ.get(name, frozenset()) - WHERE - {"stats"}):
        if settings.has(key):
            settings.refuse(key, f"absent: {name} has no such setting here")


def _check_chain(path: Path, chain: tuple[str, ...], found: list[str]) -> None:
    for name in chain:
        if name not in found and name != RENAME:  # without it names stay
            raise PolicyError(f"{path} has 0 steps {name}, must be one; {MIGRATE}")
    places = [found.index(name) for name in chain if name in found]
    if places != sorted(places):
        raise PolicyError(f"{path} has {chain[0]} behind {chain[1]}, must be before it; {MIGRATE}")


def _check_features(settings: Fields, feature: str) -> None:
    """The kind of each feature chooses how it is normalised; one that is not named is not."""
    features = settings.object("features")
    features.object(feature)
    kinds = {STATE: "STATE", ACTION: "ACTION"}
    for name in features.values:
        features.object(name).choice("type", (kinds.get(name, "VISUAL"),))
