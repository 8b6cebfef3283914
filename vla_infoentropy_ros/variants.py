# SPDX-License-Identifier: Apache-2.0
"""What comparisons compare: a selector with a way to decode, written ``attention_drift+window``."""

from __future__ import annotations

from dataclasses import dataclass

from vla_infoentropy_ros.foreign.text import did_you_mean
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.selection import SelectionSettings, build_selector, check_selector
from vla_infoentropy_ros.session import DECODE_MODES, Session, SessionOptions


@dataclass(frozen=True)
class Variant:
    """``str()`` is its name in tables and files; greedy decoding goes without saying."""

    selector: str
    decode: str = "greedy"

    @classmethod
    def parse(cls, text: str) -> Variant:
        """From its name. Raises SettingError for an unknown selector or way to decode."""
        selector, plus, decode = text.partition("+")
        check_selector(selector)
        if plus and decode not in DECODE_MODES:
            told = f"{text!r}: decode {decode!r} is not among {', '.join(DECODE_MODES)}"
            hint = did_you_mean(decode, DECODE_MODES)
            raise SettingError("; ".join(filter(None, (told, hint))))
        return cls(selector, decode or "greedy")

    def session(
        self, policy: PolicyAdapter, schedule: str = "linear",
        settings: SelectionSettings | None = None,
    ) -> Session:
        """A session that runs ``policy`` so."""
        selector = build_selector(self.selector, schedule, settings)
        return Session(policy, selector, SessionOptions(decode=self.decode))

    def __str__(self) -> str:
        return self.selector if self.decode == "greedy" else f"{self.selector}+{self.decode}"


RECOMMENDED = Variant("attention_drift", "window")
"""What runs where nobody says otherwise: the fastest of what was measured to succeed as dense does
on the tabletop, within a scene in a hundred (docs/results: budgets.json, steps.json), and on LIBERO
within some points (docs/libero.md)."""
