"""Memory that is freed is there for the next batch; asked of a real process."""

from __future__ import annotations

import subprocess
import sys

FAULTS = """
import resource, sys
import numpy as np
from service.app.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def some():
    return sum(array.sum() for array in [np.ones(200_000) for _ in range(8)])
some()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    some()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    command = [sys.executable, "-c", FAULTS, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_arrays_that_come_and_go_touch_no_new_pages() -> None:
    """Eight arrays are 3,100 pages, a hundred times; fresh ones, by default."""
    assert page_faults("as it comes") > 10_000
    assert page_faults("kept") < 1_000
