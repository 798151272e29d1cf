"""The two executors that come with the harness are offers like any other."""

from __future__ import annotations

import subprocess
import sys

from benchmark import plugins
from benchmark.execution import inline, local


def test_both_are_offered_and_found() -> None:
    registry = plugins.load()
    offers = {name: registry.offer("executor", name) for name in ("local", "inline")}
    assert {offer.plugin.word for offer in offers.values()} == {"executors"}
    assert [plugins.resolve(offer) for offer in offers.values()] == [local.run, inline.run]


def test_offering_them_loads_neither() -> None:
    code = (
        "import sys; from benchmark import plugins; registry = plugins.load(); "
        "print('local' in registry.executors, any(name.startswith('benchmark.execution') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
