# SPDX-License-Identifier: Apache-2.0
"""Large messages find their pages made: counted in page faults, which depend on no other load."""

import os
import subprocess
import sys

import pytest

from test.trees import child_path

TAKEN = """
import resource
from vla_infoentropy_ros.nodes import heap
if {kept}:
    if not heap.keep_freed():
        raise SystemExit(77)
    heap.make_room()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(3):
    before = faults()
    copies = [b"x" * 16_400_000 for _ in range(3)]
    del copies
    print(faults() - before)
"""


@pytest.mark.parametrize("kept", [True, False])
def test_no_page_is_made_for_a_message_that_is_taken(kept):
    child = subprocess.run(
        [sys.executable, "-c", TAKEN.format(kept=kept)], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": child_path()},
    )  # fmt: skip
    if child.returncode == 77:
        pytest.skip("this malloc cannot be told")
    counts = [int(line) for line in child.stdout.split()]
    pages = 3 * 16_400_000 // os.sysconf("SC_PAGE_SIZE")
    assert len(counts) == 3, child.stderr
    assert max(counts) < pages / 20 if kept else counts[0] > pages / 2
