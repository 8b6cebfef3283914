# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterator

import pytest

from test.driving.rig import Bench


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Makes a bench with parameters by name; ``__`` stands for a dot."""
    made: list[Bench] = []

    def make(**values: object) -> Bench:
        made.append(Bench({name.replace("__", "."): value for name, value in values.items()}))
        return made[-1]

    yield make
    for each in made:
        each.close()
