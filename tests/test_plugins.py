"""Real distributions in a folder on sys.path, found through their entry points as an installed package is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Install

from benchmark import BenchmarkError, ContractError, Ragged, Ranking
from benchmark.cli import _parser, help_text, main
from benchmark.plugins import (
    CORE_COMMANDS,
    BoundMetric,
    Registry,
    build,
    check_params,
    check_requirements,
    load,
    plugin_options,
    resolve,
)
from benchmark.sources import file_of

MODEL = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal
import numpy as np
from benchmark import Log, Ranking, hookimpl
if TYPE_CHECKING:
    import torch

@dataclass
class Base:
    layers: int = 2
    net_: torch.nn.Module = field(init=False)

@dataclass
class Toy(Base):
    rate: float = 0.1
    mode: Literal["concat", "balanced"] = "concat"
    tasks: tuple[Literal["recommendation", "search"], ...] = ("recommendation",)
    path: str | None = None
    words: list[str] = field(default_factory=lambda: ["a"])
    requires: ClassVar[tuple[str, ...]] = ("numpy",)

    def fit(self, train, valid, context): ...
    def rank(self, requests, k): ...

class Needy:
    requires = ("no_such_module",)
    tasks = frozenset()

def data(path: str, copies: int = 1) -> Log:
    return "no log"

def share(ranking, relevant, k, rel: int = 1):
    return np.full(len(relevant), k + rel, dtype=float)

def loose(ranking, relevant, k, **anything):
    return float(anything["rel"])

def weight(ranking, relevant, k, *, popularity):
    return float(popularity.sum() + k)

@hookimpl
def benchmark_models():
    return {"toy": Toy, "needy": "benchmark_acme:Needy", "gone": "benchmark_acme:Gone", "lost": "benchmark_lost:Model"}

@hookimpl
def benchmark_datasets():
    return {"acme-data": data}

@hookimpl
def benchmark_metrics():
    return {"Share": share, "Weight": weight, "Loose": loose}
"""


@pytest.fixture
def strangers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in observer is out: these tests notify with arguments that only their own plugins understand."""
    monkeypatch.setenv("BENCHMARK_DISABLED_PLUGINS", "mlflow")


def error_of(registry: Registry, word: str) -> str:
    (found,) = [plugin.error for plugin in registry.plugins if plugin.word == word]
    return found


def test_a_stranger_is_listed_with_distribution_version_and_hooks(install: Install) -> None:
    install("acme", MODEL)
    (acme,) = [plugin for plugin in load().plugins if plugin.word == "acme"]
    assert (acme.module, acme.distribution, acme.version, acme.error) == ("benchmark_acme", "benchmark-acme", "1.5", "")
    assert acme.hooks == ("benchmark_datasets", "benchmark_metrics", "benchmark_models")
    assert load().models["toy"].plugin == acme


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 +", "SyntaxError: invalid syntax (benchmark_bad.py, line 1)"),
        ("x = 1", "no function is marked with @hookimpl, so it adds nothing"),
        ("def benchmark_models(): return {}", "benchmark_models is not marked with @hookimpl"),
        (
            "from benchmark import hookimpl\n@hookimpl\ndef benchmark_model(): return {}",
            "there is no hook 'benchmark_model'. Did you mean 'benchmark_models'?",
        ),
        (
            "from benchmark import hookimpl\n@hookimpl\ndef benchmark_models(): return 1 / 0",
            "ZeroDivisionError: division by zero",
        ),
        (
            "from benchmark import hookimpl\n@hookimpl\ndef benchmark_models(): return ['toy']",
            "benchmark_models returned list; it must return a mapping from name to target",
        ),
        (
            "from benchmark import hookimpl\n@hookimpl\ndef benchmark_models(): return {'toy': 'a.b'}",
            "benchmark_models: the target of 'toy' must be callable or 'module:attribute', got 'a.b'",
        ),
        (
            "from benchmark import hookimpl\n@hookimpl\ndef benchmark_metrics(): return {'nDCG@10': print}",
            "benchmark_metrics: 'nDCG@10' is not a name; a name has letters, digits and _ . + -",
        ),
        (
            "from benchmark import hookimpl\n@hookimpl(wrapper=True)\ndef benchmark_models(): yield",
            "benchmark_models is a wrapper; each plugin is called on its own, so it has nothing to wrap",
        ),
    ],
)
def test_a_broken_plugin_is_listed_with_its_error_and_harms_no_other(install: Install, source: str, error: str) -> None:
    install("bad", source)
    install("acme", MODEL)
    registry = load()
    assert error_of(registry, "bad") == error
    assert "toy" in registry.models
    (bad,) = [plugin for plugin in registry.plugins if plugin.word == "bad"]
    assert "Traceback" in bad.traceback
    assert bad.hooks == ()


@pytest.mark.usefixtures("strangers_only")
def test_an_argument_that_the_hook_lacks_is_the_plugins_error(install: Install) -> None:
    install("bad", "from benchmark import hookimpl\n@hookimpl\ndef benchmark_cell_finished(cell, wether): ...")
    assert error_of(load(), "bad").startswith("PluginValidationError: ")
    assert load().notify("benchmark_cell_finished", suite=None, plan=None, cell=None, result=None) == []


def test_a_name_offered_twice_names_both_plugins(install: Install) -> None:
    install("acme", MODEL)
    install("other", "from benchmark import hookimpl\n@hookimpl\ndef benchmark_models(): return {'toy': dict}")
    message = (
        "model 'toy' is offered twice: by plugin 'acme' (benchmark-acme 1.5) "
        "and by plugin 'other' (benchmark-other 1.5). "
        "To keep the first: pip uninstall benchmark-other, or BENCHMARK_DISABLED_PLUGINS=other"
    )
    with pytest.raises(BenchmarkError) as caught:
        load()
    assert str(caught.value) == message
    listed = load(strict=False)
    assert listed.problems == (message,)
    assert listed.models["toy"].plugin.word == "acme"


def test_a_disabled_plugin_offers_nothing_and_says_so(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme", MODEL)
    monkeypatch.setenv("BENCHMARK_DISABLED_PLUGINS", "acme")
    registry = load()
    assert error_of(registry, "acme") == "disabled by BENCHMARK_DISABLED_PLUGINS"
    assert "benchmark_acme" not in sys.modules
    with pytest.raises(BenchmarkError, match=r"unknown model 'toy'.*plugin 'acme' \(benchmark-acme 1.5\): disabled by"):
        registry.offer("model", "toy")


def test_disabling_an_unknown_plugin_is_a_mistake(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme", MODEL)
    monkeypatch.setenv("BENCHMARK_DISABLED_PLUGINS", "acne")
    with pytest.raises(
        BenchmarkError, match=r"unknown plugin 'acne' in BENCHMARK_DISABLED_PLUGINS. Did you mean 'acme'\?"
    ):
        load()


def test_an_unknown_name_comes_with_the_closest(install: Install) -> None:
    install("acme", MODEL)
    with pytest.raises(BenchmarkError, match=r"unknown model 'toyy' in models\[0\]. Did you mean 'toy'\?"):
        load().offer("model", "toyy", "models[0]")
    with pytest.raises(BenchmarkError, match=r"unknown data set 'acme-dta'. Did you mean 'acme-data'\?"):
        load().offer("dataset", "acme-dta")


def test_parameters_are_complete_and_in_json_types(install: Install) -> None:
    install("acme", MODEL)
    params = check_params(load().models["toy"], {"rate": 1, "tasks": ["search"]})
    assert params == {"layers": 2, "mode": "concat", "path": None, "rate": 1.0, "tasks": ["search"], "words": ["a"]}
    assert list(params) == sorted(params)
    model = build(load().models["toy"], params)
    assert model.tasks == ("search",)
    assert isinstance(model.rate, float)


def test_a_parameter_without_default_must_be_given(install: Install) -> None:
    install("acme", MODEL)
    with pytest.raises(BenchmarkError, match="data set 'acme-data': the parameter 'path' must be given; it is str"):
        check_params(load().datasets["acme-data"], {})


def test_a_type_that_is_hidden_at_run_time_is_the_plugins_error(install: Install) -> None:
    install(
        "bad",
        """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from benchmark import hookimpl
        if TYPE_CHECKING:
            from pathlib import Path
        def data(path: Path): ...
        @hookimpl
        def benchmark_datasets(): return {"bad": data}
        """,
    )
    with pytest.raises(
        ContractError, match=r"data set 'bad': the type of the parameter 'path' cannot be read at run time"
    ):
        check_params(load().datasets["bad"], {"path": "x"})


def test_build_refuses_what_is_no_log_and_no_model(install: Install) -> None:
    install("acme", MODEL)
    with pytest.raises(
        ContractError, match=r"data set 'acme-data' of plugin 'acme' .* returned str; a data set is a benchmark.Log"
    ):
        build(load().datasets["acme-data"], {"path": "x"})
    with pytest.raises(ContractError, match=r"model 'needy' of plugin 'acme' .* lacks fit, rank"):
        build(load().models["needy"], {})


def test_a_target_that_is_not_there_is_the_plugins_error(install: Install) -> None:
    install("acme", MODEL)
    with pytest.raises(ContractError, match=r"model 'gone' of plugin 'acme' .*has no attribute 'Gone'"):
        resolve(load().models["gone"])
    with pytest.raises(ContractError, match=r"model 'lost' of plugin 'acme' .*there is no module 'benchmark_lost'"):
        resolve(load().models["lost"])


@pytest.mark.parametrize(("extras", "command"), [((), "no_such_module"), (("acme",), "'benchmark-acme[acme]'")])
def test_a_missing_module_comes_with_the_pip_command(install: Install, extras: tuple[str, ...], command: str) -> None:
    install("acme", MODEL, extras=extras)
    check_requirements(load().models["toy"])
    with pytest.raises(BenchmarkError) as caught:
        check_requirements(load().models["needy"])
    assert str(caught.value) == (
        f"model 'needy' needs 'no_such_module', which is not installed. Install it with: pip install {command}"
    )


def test_a_module_missing_at_import_comes_with_the_pip_command(install: Install, tmp_path: Path) -> None:
    install(
        "acme", "from benchmark import hookimpl\n@hookimpl\ndef benchmark_models(): return {'m': 'benchmark_lazy:M'}"
    )
    (tmp_path / "benchmark_lazy.py").write_text("import no_such_module.part")
    with pytest.raises(BenchmarkError, match="model 'm' needs 'no_such_module', which is not installed"):
        resolve(load().models["m"])


def test_a_built_in_names_its_extra() -> None:
    from dataclasses import replace

    popular = load().models["popular"]
    with pytest.raises(BenchmarkError, match=r"pip install 'genrec-benchmark\[popular\]'"):
        check_requirements(replace(popular, target=type("M", (), {"requires": ("no_such_module",)})))


def test_metrics_are_bound_to_cut_off_and_parameters(install: Install) -> None:
    install("acme", MODEL)
    registry = load()
    ranking = Ranking(np.zeros((2, 7), dtype=np.int32), np.zeros((2, 7), dtype=np.float32))
    relevant = Ragged.from_rows([[0], [1]])
    popularity = np.array([4, 1])

    def value(spec: str) -> object:
        return np.asarray(registry.metric(spec)(ranking, relevant, popularity)).tolist()

    assert value("Share@10") == [11.0, 11.0]
    assert value("Share(rel=2)@10") == [12.0, 12.0]
    assert value("Share") == [8.0, 8.0]
    assert value("Weight@3") == 8.0
    assert value("Loose(rel=5)@3") == 5.0
    metric = registry.metric("Share(rel=2)@10")
    assert isinstance(metric, BoundMetric)
    assert (metric.name, metric.k) == ("Share(rel=2)@10", 10)
    assert registry.metric("Share").k is None


COMMANDS = """
from benchmark import hookimpl
@hookimpl
def benchmark_commands(): return {commands}
"""


def test_a_command_of_the_core_cannot_be_offered(install: Install) -> None:
    install("acme", COMMANDS.format(commands="{'run': print, 'toy': print}"))
    with pytest.raises(BenchmarkError, match=r"^command 'run' is offered twice: by the core and by plugin 'acme'"):
        load()
    assert load(strict=False).commands.keys() == {"toy", "ui"}
    assert {*_parser()[1].choices} == {*CORE_COMMANDS}


def test_a_broken_command_breaks_no_other(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("acme", COMMANDS.format(commands="{'gone': 'benchmark_gone:run', 'toy': lambda parser: 1 / 0}"))
    assert "    ui        MLflow's pages on this store\n" in help_text()
    assert main(["gone"]) == 2
    assert "there is no module 'benchmark_gone'" in capsys.readouterr().err
    assert main(["toy"]) == 2
    said = "command 'toy' of plugin 'acme' (benchmark-acme 1.5) failed, which is a fault in it: ZeroDivisionError"
    assert said in capsys.readouterr().err


def test_help_reads_the_commands_that_the_source_writes_out(install: Install) -> None:
    source = COMMANDS.format(commands="{'toy': 'benchmark_acme:toy', 'gone': 'benchmark_gone:run'}")
    install("acme", f"{source}\ndef toy(parser):\n    'Play, and learn.'\n")
    file_of.cache_clear()
    assert "    gone\n    toy       Play, and learn\n    ui        MLflow's pages" in help_text()


OPTIONS = """
from benchmark import hookimpl
class Options:
    def __init__(self, queue: str = "short", most: int = 3): ...
@hookimpl
def benchmark_options(): return {"acme": Options, "gone": "benchmark_gone:Options"}
"""


def test_options_have_their_own_types_and_a_broken_plugin_asks_for_none(install: Install) -> None:
    install("acme", OPTIONS)
    registry = load()
    values = plugin_options(registry, ["acme.queue=off", "acme.most=7"])
    assert values == {"mlflow": {"uri": ""}, "acme": {"queue": "off", "most": 7}}  # not False: it is a text
    assert plugin_options(registry, [], {"acme": {"most": 5, "old": 1}, "other": {}})["acme"] == {
        "queue": "short",
        "most": 5,
    }
    with pytest.raises(BenchmarkError, match="there is no module 'benchmark_gone'"):
        plugin_options(registry, ["gone.queue=long"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("Shar@10", r"unknown metric 'Shar'. Did you mean 'Share'\?"),
        ("Share@ten", "metric 'Share@ten': the cut-off 'ten' must be a whole number from 1, as in Share@10"),
        ("Share@0", "the cut-off '0' must be a whole number from 1"),
        ("Share@", "the cut-off '' must be a whole number from 1"),
        ("Share(2)@10", r"metric 'Share\(2\)@10': '2' is not written as parameter=value"),
        ("Share(rel=2@10", r"is not written as name, name@k or name\(parameter=value\)@k"),
        ("Share(rel='2')@10", "metric 'Share': the parameter 'rel' must be int, got '2'"),
        ("Share(real=2)@10", r"unknown parameter 'real' in metric 'Share'. Did you mean 'rel'\?"),
    ],
)
def test_a_wrong_metric_says_what_would_be_right(install: Install, spec: str, message: str) -> None:
    install("acme", MODEL)
    with pytest.raises(BenchmarkError, match=message):
        load().metric(spec)


OBSERVER = """
from benchmark import BenchmarkError, hookimpl
seen = []
@hookimpl
def benchmark_suite_started(run):
    raise BenchmarkError("the server does not answer")
@hookimpl
def benchmark_cell_finished(cell, result):
    seen.append((cell, result))
@hookimpl
def benchmark_suite_finished(run, leaderboard):
    {act}
"""


@pytest.mark.usefixtures("strangers_only")
def test_observers_are_called_one_by_one(install: Install) -> None:
    install("first", OBSERVER.format(act="raise ValueError('full')"))
    install("second", OBSERVER.format(act="seen.append(leaderboard)"))
    registry = load()
    failed = registry.notify("benchmark_suite_finished", run=1, leaderboard=3)
    assert [(plugin.word, repr(error)) for plugin, error in failed] == [("first", "ValueError('full')")]
    assert registry.notify("benchmark_cell_finished", run=1, cell="c", result="r") == []
    assert sys.modules["benchmark_second"].seen == [3, ("c", "r")]


@pytest.mark.usefixtures("strangers_only")
def test_a_plugin_may_refuse_the_start_and_only_the_start(install: Install) -> None:
    install("first", OBSERVER.format(act="raise BenchmarkError('late')"))
    registry = load()
    with pytest.raises(BenchmarkError, match="the server does not answer"):
        registry.notify("benchmark_suite_started", run=1)
    assert len(registry.notify("benchmark_suite_finished", run=1, leaderboard=3)) == 1
