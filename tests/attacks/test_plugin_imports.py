"""A plugin whose import hangs, or raises what ends a program, is broken; nothing else is, and every command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import Install

from benchmark import BenchmarkError, ContractError, plugins
from benchmark.plugins import Plugin, load, resolve

HANGING = "import threading\nprint('importing', flush=True)\nthreading.Event().wait()"
HEALTHY = "from benchmark import hookimpl\n@hookimpl\ndef benchmark_models(): return {}"
MESSAGE = (
    "the plugin acme of the package benchmark-acme has been loading for 0.1 s; after {} s it is left out. To disable"
)
COMMAND = """
import sys
from benchmark import plugins
from benchmark.cli import main
plugins.SLOW_SECONDS, plugins.LOAD_SECONDS = 0.1, float(sys.argv[1])
sys.exit(main(sys.argv[2:]))
"""


def plugin(word: str) -> Plugin:
    return next(plugin for plugin in load(strict=False).plugins if plugin.word == word)


def start(folder: Path, limit: float, *words: str) -> subprocess.Popen[str]:
    """`benchmark WORDS…` with the plugins in `folder`, each of which may take `limit` seconds to load."""
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(limit), *words],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_plugin_that_hangs_is_named_and_then_left_out(
    install: Install, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install("beta", HEALTHY)
    load()  # every other plugin is imported now, and loads in a few milliseconds from here on
    monkeypatch.setenv(plugins.HANGING, "")
    end = threading.Event()
    monkeypatch.setattr(plugins, "end", end, raising=False)
    install("acme", "from benchmark.plugins import end\nend.wait()")
    monkeypatch.setattr(plugins, "SLOW_SECONDS", 0.1)
    monkeypatch.setattr(plugins, "LOAD_SECONDS", 2.0)
    acme, beta = (found for found in load().plugins if found.word in ("acme", "beta"))
    end.set()
    assert MESSAGE.format(2) in capfd.readouterr().err
    assert acme.error == "did not finish loading in 2 s"
    assert "line 2, in <module>\n    end.wait()\n" in acme.traceback
    assert beta.error == ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("list",), 0, "did not finish loading in 3 s"),
        (("run", "quickstart", "--dry-run"), 0, "cells to compute"),
        (("run", "acme.yaml"), 2, "unknown model 'toy'. "),
    ],
    ids=["list", "a suite that does not need it", "a suite that needs it"],
)
def test_a_command_goes_on_without_a_plugin_that_hangs(
    install: Install, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    install("acme", HANGING)
    suite = "name: acme\ndatasets: [{use: clusters}]\nmodels: [{use: toy}]\nmetrics: [R@1]\n"
    (tmp_path / "acme.yaml").write_text(suite)
    process = start(tmp_path, 3, *words)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert MESSAGE.format(3) in err
    assert said in out + err
    if code:
        assert "Not in use: plugin 'acme' (benchmark-acme 1.5): did not finish loading in 3 s" in err


@pytest.mark.parametrize("words", [("suites",), ("--help",), ("report", "--help"), ("--version",)], ids=" ".join)
def test_a_command_that_needs_no_plugin_waits_for_none(
    install: Install, tmp_path: Path, words: tuple[str, ...]
) -> None:
    install("acme", HANGING)
    out, err = start(tmp_path, 600, *words).communicate(timeout=120)
    assert "importing" not in out
    assert err == ""


def test_an_unknown_command_names_the_plugins_that_do_not_load(install: Install, tmp_path: Path) -> None:
    install("acme", "raise ValueError('no')")
    process = start(tmp_path, 30, "toys")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "unknown command 'toys'." in err
    assert "Not in use: plugin 'acme' (benchmark-acme 1.5): ValueError: no" in err


def test_the_workers_of_a_run_do_not_wait_for_it_again(install: Install, tmp_path: Path) -> None:
    install("acme", f"open(__file__ + '.imports', 'a').write('once ')\n{HANGING}")
    process = start(tmp_path, 3, "run", "quickstart", "--only", "Pop", "--tracking", "off")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "1 cells computed" in out
    assert (tmp_path / "benchmark_acme.py.imports").read_text() == "once "


def test_a_command_that_waits_for_a_plugin_can_be_stopped(install: Install, tmp_path: Path) -> None:
    install("acme", HANGING)
    process = start(tmp_path, 600, "list")
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopped; what is finished is kept" in err


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "SystemExit", "GeneratorExit", "BaseException"])
def test_whatever_an_import_raises_only_its_plugin_is_broken(install: Install, error: str) -> None:
    install("acme", f"raise {error}('no')")
    install("beta", HEALTHY)
    assert plugin("acme").error == f"{error}: no"
    assert plugin("acme").traceback.endswith(f"raise {error}('no')\n{error}: no\n")
    assert plugin("beta").error == ""


def test_an_error_whose_message_raises_is_a_broken_plugin(install: Install) -> None:
    install("acme", "class Unsaid(Exception):\n    def __str__(self): raise ValueError\nraise Unsaid")
    assert plugin("acme").error == "Unsaid: its message cannot be read"


@pytest.mark.parametrize("error", ["SystemExit", "GeneratorExit"])
def test_a_model_whose_module_ends_the_program_does_not(install: Install, tmp_path: Path, error: str) -> None:
    (tmp_path / "benchmark_lazy.py").write_text(f"raise {error}(0)")
    install("acme", HEALTHY.replace("{}", "{'toy': 'benchmark_lazy:Toy'}"))
    with pytest.raises(ContractError, match=rf"'benchmark_lazy:Toy' cannot be imported: {error}: 0"):
        resolve(load().models["toy"])


def test_a_model_whose_module_loads_slowly_is_named(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "benchmark_lazy.py").write_text("import time\ntime.sleep(1)\nToy = dict")
    install("acme", HEALTHY.replace("{}", "{'toy': 'benchmark_lazy:Toy'}"))
    offer = load().models["toy"]
    monkeypatch.setattr(plugins, "SLOW_SECONDS", 0.1)
    assert resolve(offer) is dict
    assert capfd.readouterr().err == ("model 'toy' of plugin 'acme' (benchmark-acme 1.5) has been loading for 0.1 s\n")


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("acme", "pip uninstall benchmark-acme, or BENCHMARK_DISABLED_PLUGINS=acme"),
        # Disabling this one would disable the built-in plugin of the same name too.
        ("popular", "pip uninstall benchmark-popular"),
    ],
)
def test_who_shadows_a_built_in_name_is_to_be_removed(install: Install, word: str, remedy: str) -> None:
    install(word, HEALTHY.replace("{}", "{'popular': dict}"), module="benchmark_stranger")
    with pytest.raises(BenchmarkError) as caught:
        load()
    assert str(caught.value) == (
        f"model 'popular' is offered twice: by plugin 'popular' (genrec-benchmark {plugins_version()}) and by plugin "
        f"'{word}' (benchmark-{word} 1.5). To keep the first: {remedy}"
    )
    assert load(strict=False).models["popular"].plugin.distribution == "genrec-benchmark"


def plugins_version() -> str:
    return next(plugin.version for plugin in load(strict=False).plugins if plugin.word == "accuracy")
