"""How the tests of this folder draw random examples."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
"""Of each test. Up to 100 they are the same ones every time; `make torture` draws 1,000 new ones."""
FUZZ = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 100,
    print_blob=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
