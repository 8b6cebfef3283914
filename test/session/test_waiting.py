# SPDX-License-Identifier: Apache-2.0
"""How often a step waits for its device: counted, operator by operator, while it runs.

On a CPU nothing waits, but the operators that would are the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from test.session.helpers import SMALL
from test.tiny_policy import TinyPolicy, frames
from vla_infoentropy_ros.engine import stopwatch
from vla_infoentropy_ros.selection import SELECTORS, build_selector
from vla_infoentropy_ros.session import Session, SessionOptions

# What needs a value, or a shape that depends on values, on the host.
OPERATORS = {
    "_local_scalar_dense", "nonzero", "nonzero_numpy", "equal", "is_nonzero", "item",
    "masked_select", "unique_dim", "_unique2", "unique_consecutive", "bincount", "allclose",
}
TRANSFERS = ("cpu", "tolist", "numpy")


class Waits(TorchDispatchMode):
    """Counts what would wait for a device, however it is spelt."""

    def __init__(self, monkeypatch) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self._inside = False
        for name in TRANSFERS:
            monkeypatch.setattr(torch.Tensor, name, self._counting(name))

    def _counting(self, name):
        original = getattr(torch.Tensor, name)

        def transfer(tensor, *args, **kwargs):
            outermost, self._inside = not self._inside, True
            self.seen[name] += outermost
            try:
                return original(tensor, *args, **kwargs)
            finally:
                self._inside = self._inside and not outermost

        return transfer

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        self.seen[name] += name in OPERATORS or by_mask
        return func(*args, **(kwargs or {}))


# One read-back, and one for what only the device knows: how many tokens passed a threshold.
FOR_COUNTS = {"info_entropy": {"tolist": 1}, "vla_cache": {"tolist": 1}}


@pytest.mark.parametrize("decode", ["greedy", "window"])
@pytest.mark.parametrize("selector", SELECTORS)
def test_a_step_reads_back_once(selector, decode, monkeypatch):
    settings = replace(SMALL, static_threshold=-1.0)
    session = Session(
        TinyPolicy(), build_selector(selector, settings=settings), SessionOptions(decode))
    session.set_instruction("pick up")
    sequence = frames(6, changed=60)
    for frame in sequence[:5]:
        session.step([frame])
    waits = Waits(monkeypatch)
    with waits:
        result = session.step([sequence[5]])
    # The picture was never on a device: its `cpu` and its `numpy` wait for nothing.
    expected = Counter({"cpu": 2, "numpy": 2}) + Counter(FOR_COUNTS.get(selector, {}))
    if decode == "window":
        expected["is_nonzero"] = result.decoder_passes  # each pass is judged on the host
    seen = +waits.seen
    seen["is_nonzero"] += seen.pop("_local_scalar_dense", 0)
    assert +seen == +expected


def test_the_count_sees_every_spelling(monkeypatch):
    mask = torch.tensor([True, False])
    spellings = {
        "item": lambda: mask.sum().item(), "bool": lambda: bool(mask.any()),
        "nonzero": lambda: mask.nonzero(), "equal": lambda: torch.equal(mask, mask),
        "float": lambda: float(mask.sum()), "index": lambda: mask[mask],
        "tolist": lambda: mask.tolist(), "cpu": lambda: mask.cpu(),
    }
    for name, spelling in spellings.items():
        with monkeypatch.context() as patch:
            waits = Waits(patch)
            with waits:
                spelling()
        assert sum(waits.seen.values()) >= 1, name


def test_a_gpu_is_waited_for_when_the_times_are_read(monkeypatch):
    waited, clock = [], iter(range(100))

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = next(clock)

        def synchronize(self):
            waited.append(self.at)

        def elapsed_time(self, end):
            return float(end.at - self.at) * 10

    monkeypatch.setattr(torch.cuda, "Event", Event)
    watch = stopwatch.Stopwatch(torch.device("cuda"))
    for name in ("vision", "select", "decode", "select"):
        watch.lap(name)
    assert waited == []
    assert watch.stages_ms() == {"vision": 10.0, "select": 20.0, "decode": 10.0}
    assert waited == [4]
