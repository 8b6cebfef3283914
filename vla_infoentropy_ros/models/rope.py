# SPDX-License-Identifier: Apache-2.0
"""How a config.json tells a rotary embedding, in the places where releases of transformers look."""

from __future__ import annotations

from typing import Any

from vla_infoentropy_ros.models.json_fields import Fields

BASE = 10_000.0  # where the file says none
PLAIN, SCALED = "default", ("linear", "dynamic")
# transformers 5 writes the first, older releases the second, with the base beside it.
PLACES = ("rope_parameters", "rope_scaling")
KEYS = ("rope_type", "type", "factor", "rope_theta")


def read_rope(text: Fields) -> dict[str, Any]:
    """The settings of a language model's configuration as transformers 5 has them. Raises
    PolicyError for a setting without effect, one that is not here, and two that disagree."""
    told = [text.object(name) for name in PLACES if text.has(name) and text.values[name] != {}]
    kinds = [_kind(settings) for settings in told]
    if any(kind != kinds[0] for kind in kinds):
        text.refuse(PLACES[1], f"what {PLACES[0]} says, or absent")
    bases = [where for where in (text, *told) if where.has("rope_theta")]
    base = bases[0].number("rope_theta") if bases else BASE
    for where in bases:
        if where.number("rope_theta") != base:
            where.refuse("rope_theta", f"{base:g}, as the file says elsewhere, or absent")
    return {"rope_theta": base} | (kinds[0] if kinds else {"rope_type": PLAIN})


def _kind(settings: Fields) -> dict[str, Any]:
    """Its type, and the factor of a type that has one."""
    for key in sorted(settings.values.keys() - set(KEYS)):
        if settings.has(key):
            settings.refuse(key, f"absent: of a rotary embedding {', '.join(KEYS)} are known here")
    names = [name for name in ("rope_type", "type") if settings.has(name)]
    default = None if settings.has("factor") else PLAIN  # a factor means nothing of itself
    kinds = [settings.choice(name, (PLAIN, *SCALED)) for name in names] or [
        settings.choice("rope_type", (PLAIN, *SCALED), default)
    ]
    if kinds[0] != kinds[-1]:
        settings.refuse("type", f"{kinds[0]!r}, as rope_type, or absent")
    if kinds[0] == PLAIN:
        if settings.has("factor"):
            settings.refuse("factor", f"absent where the type is {PLAIN!r}, which has none")
        return {"rope_type": PLAIN}
    factor = settings.number("factor")
    if factor < 1.0:
        settings.refuse("factor", "a number from 1")
    return {"rope_type": kinds[0], "factor": factor}
