"""Plugins: found through entry points, loaded one by one so that a broken one harms no other, and what they offer."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import re
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import pluggy

from benchmark import hookspecs
from benchmark.contract import Model
from benchmark.data.types import Log
from benchmark.errors import BenchmarkError, ContractError, error_text, unknown
from benchmark.hookspecs import NAME
from benchmark.isolation import contained, frozen
from benchmark.metric import SIDES, Better, BoundMetric, parse_metric
from benchmark.parameters import as_json, parameters, resolve_params
from benchmark.text import visible

DISABLED = "BENCHMARK_DISABLED_PLUGINS"
DISTRIBUTION = "genrec-benchmark"
"""The distribution of the built-in plugins."""
SLOW_SECONDS = 10.0
"""After so long, a plugin that is still loading is named on stderr."""
LOAD_SECONDS = 30.0
"""After so long, a plugin that is still loading is given up."""
HANGING = "BENCHMARK_HANGING_PLUGINS"
"""Set for the worker processes, so that not every cell waits for the same plugin: distribution:name, comma between."""
Kind = Literal["dataset", "model", "metric", "analysis", "executor", "command", "options"]
_HOOK: dict[Kind, str] = {
    "dataset": "benchmark_datasets",
    "model": "benchmark_models",
    "metric": "benchmark_metrics",
    "analysis": "benchmark_analyses",
    "executor": "benchmark_executors",
    "command": "benchmark_commands",
    "options": "benchmark_options",
}
_SAID: dict[Kind, str] = {kind: kind for kind in _HOOK} | {"dataset": "data set"}
CORE_COMMANDS = ("run", "check", "report", "list", "suites", "data", "new-plugin")
"""What `benchmark` can do by itself: no names for the commands of plugins."""
GIVEN: dict[Kind, tuple[str, ...]] = {
    "dataset": (),
    "model": (),
    "metric": ("ranking", "relevant", "k", "popularity"),
    "analysis": (),
    "executor": ("jobs", "execution", "on_progress"),
    "command": ("parser",),
    "options": (),
}
"""The arguments that the harness gives: no parameters of a suite."""
_NAME = re.compile(r"\w[\w.+-]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True)
class Plugin:
    """An entry point of the group `benchmark`: `word` is its name, `hooks` what it implements.

    `error` says in one line why it is not in use (broken or disabled), and is empty otherwise.
    """

    word: str
    module: str
    distribution: str
    version: str
    hooks: tuple[str, ...] = ()
    error: str = ""
    traceback: str = ""

    def __str__(self) -> str:
        return f"plugin '{self.word}' ({self.distribution} {self.version})"


@dataclass(frozen=True)
class Offer:
    """Something that a suite or the command line can name. `target` is the thing itself or "module:attribute"."""

    kind: Kind
    name: str
    target: Any
    plugin: Plugin

    def __str__(self) -> str:
        return f"{_SAID[self.kind]} '{self.name}'"


@dataclass(frozen=True)
class Registry:
    """All plugins, and what those in use offer, by name. `problems` are names offered twice, one sentence each."""

    plugins: tuple[Plugin, ...]
    datasets: Mapping[str, Offer]
    models: Mapping[str, Offer]
    metrics: Mapping[str, Offer]
    analyses: Mapping[str, Offer]
    executors: Mapping[str, Offer]
    commands: Mapping[str, Offer]
    options: Mapping[str, Offer]
    problems: tuple[str, ...] = ()
    _manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(NAME), repr=False)

    @property
    def tables(self) -> dict[Kind, Mapping[str, Offer]]:
        """All offers, by kind and name."""
        return {
            "dataset": self.datasets,
            "model": self.models,
            "metric": self.metrics,
            "analysis": self.analyses,
            "executor": self.executors,
            "command": self.commands,
            "options": self.options,
        }

    def offer(self, kind: Kind, name: str, where: str = "") -> Offer:
        """What is offered by this name. Raises BenchmarkError with the closest name, and the plugins not in use."""
        table = self.tables[kind]
        if name in table:
            return table[name]
        error = unknown(_SAID[kind], name, {*table, *(CORE_COMMANDS if kind == "command" else ())}, where)
        absent = "; ".join(f"{plugin}: {plugin.error}" for plugin in self.plugins if plugin.error)
        raise BenchmarkError(f"{error} Not in use: {absent}" if absent else str(error))

    def metric(self, spec: str) -> BoundMetric:
        """The metric that a suite writes as "nDCG@10", "AP(rel=2)@100", "RR" or "HR@10|uni99". Raises
        BenchmarkError."""
        parsed = parse_metric(spec)
        offer = self.offer("metric", parsed.name)
        function = resolve(offer)
        names = _callable_names(offer, function)
        if names[:3] != ["ranking", "relevant", "k"]:
            raise ContractError(
                f"{offer}: its arguments must begin with ranking, relevant, k; they are {', '.join(names)}."
            )
        bound = resolve_params(function, parsed.arguments, str(offer), GIVEN["metric"])
        return BoundMetric(
            spec,
            parsed.k,
            functools.partial(function, **bound) if bound else function,
            "popularity" in names,
            parsed.candidates,
            better_values(offer),
        )

    def notify(self, hook: str, **arguments: Any) -> list[tuple[Plugin, Exception]]:
        """Call every plugin's `hook` on its own, and give back who failed with what.

        A BenchmarkError from `benchmark_suite_started` is raised: it refuses the run.
        """
        plugins = {_key(plugin): plugin for plugin in self.plugins}
        failed: list[tuple[Plugin, Exception]] = []
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            try:
                with contained():
                    implementation.function(*(arguments[name] for name in implementation.argnames))
            except Exception as error:
                if hook == "benchmark_suite_started" and isinstance(error, BenchmarkError):
                    raise
                failed.append((plugins[implementation.plugin_name], error))
        return failed


def load(strict: bool = True) -> Registry:
    """Every installed plugin, the built-in ones first, broken ones with their error.

    A plugin is broken whatever its import raises (KeyboardInterrupt included), and where it takes more than
    LOAD_SECONDS. Raises BenchmarkError for a name that is offered twice, or a word in BENCHMARK_DISABLED_PLUGINS that
    no plugin has; without `strict` these are listed as `problems`, and the first plugin keeps the offer.
    """
    manager = pluggy.PluginManager(NAME)
    manager.add_hookspecs(hookspecs)
    points = {_described(point): point for point in importlib.metadata.entry_points(group=NAME)}
    words = Counter(plugin.word for plugin in points)
    disabled = {word.strip() for word in os.environ.get(DISABLED, "").split(",")} - {""}
    problems = [str(unknown("plugin", word, words, DISABLED)) for word in sorted(disabled - set(words))]
    plugins: list[Plugin] = []
    tables: dict[Kind, dict[str, Offer]] = {kind: {} for kind in _HOOK}
    for found in sorted(points, key=lambda plugin: (plugin.distribution != DISTRIBUTION, _key(plugin))):
        plugin, offers = _load_one(manager, found, points[found], disabled)
        plugins.append(plugin)
        for offer in offers:
            core = offer.kind == "command" and offer.name in CORE_COMMANDS
            first = offer if core else tables[offer.kind].setdefault(offer.name, offer)
            if core or first is not offer:
                # A word in DISABLED disables every plugin of that name, which may be the other one too.
                problems.append(
                    f"{offer} is offered twice: by {'the core' if core else first.plugin} and by {plugin}. "
                    f"To keep the first: pip uninstall {plugin.distribution}"
                    + (f", or {DISABLED}={plugin.word}" if words[plugin.word] == 1 else "")
                )
    if strict and problems:
        raise BenchmarkError("\n".join(problems))
    return Registry(
        tuple(plugins),
        tables["dataset"],
        tables["model"],
        tables["metric"],
        tables["analysis"],
        tables["executor"],
        tables["command"],
        tables["options"],
        tuple(problems),
        manager,
    )


def resolve(offer: Offer) -> Any:
    """The class or function of an offer, imported now.

    Raises BenchmarkError with the pip command where a module it imports is missing, ContractError for a wrong target.
    """
    if not isinstance(offer.target, str):
        return offer.target
    module, _, attribute = offer.target.partition(":")
    try:
        with contained(), _said_when_slow(f"{offer} of {offer.plugin}"):
            imported = importlib.import_module(module)
        return functools.reduce(getattr, attribute.split("."), imported)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if f"{module}.".startswith(f"{missing}."):
            raise ContractError(f"{offer} of {offer.plugin}: there is no module '{missing}'.") from error
        raise _needs(offer, missing) from error
    except (Exception, SystemExit, GeneratorExit) as error:
        raise ContractError(
            f"{offer} of {offer.plugin}: '{offer.target}' cannot be imported: {_short(error)}"
        ) from error


def better_values(offer: Offer) -> Better | None:
    """Which values of a metric are better, None where it does not say. Raises ContractError for another word."""
    side: Any = getattr(resolve(offer), "better", None)
    if side is not None and side not in SIDES:
        raise ContractError(
            f"{offer} of {offer.plugin}: its attribute `better` is {side!r}; it must be {', '.join(SIDES)}, or absent."
        )
    return cast("Better | None", side)


def check_requirements(offer: Offer) -> None:
    """Raise BenchmarkError, with the pip command, where a module named in the target's `requires` is not installed."""
    for module in getattr(resolve(offer), "requires", ()):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            raise _needs(offer, module)


def check_params(offer: Offer, params: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters with their values, defaults included, in JSON types. Raises BenchmarkError for a wrong one."""
    return as_json(resolve_params(resolve(offer), params, str(offer), GIVEN[offer.kind]))


def plugin_options(
    registry: Registry, written: Sequence[str], earlier: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """The options of every plugin that offers some, defaults included, in JSON types.

    Each of `written` is "name.option=value", where a value of another type than text is read as YAML. `earlier` are
    those of a run that is looked at again; what no plugin offers any more is left out of them.

    Raises BenchmarkError for what no plugin takes.
    """
    given: dict[str, dict[str, Any]] = {}
    for text in written:
        path, equals, value = text.partition("=")
        name, dot, key = path.rpartition(".")
        if not equals or not dot:
            raise BenchmarkError(f"--option {text}: it is written as plugin.option=value.")
        offer = registry.offer("options", name)
        typed = parameters(resolve(offer), str(offer))
        if key not in typed:
            raise unknown("option", key, typed, str(offer))
        given.setdefault(name, {})[key] = value if typed[key].hint is str else _parsed(text, value)
    values = {}
    for name, offer in registry.options.items():
        try:
            typed = parameters(resolve(offer), str(offer))
            before = {key: value for key, value in (earlier or {}).get(name, {}).items() if key in typed}
            values[name] = check_params(offer, {**before, **given.get(name, {})})
        except BenchmarkError:  # a broken plugin harms only who asks for it
            if name in given:
                raise
    return values


def _parsed(option: str, value: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise BenchmarkError(f"--option {option}: the value cannot be read.") from None


def build(offer: Offer, params: Mapping[str, Any]) -> Any:
    """The data set's Log, read-only and the harness's own, or a model that is not fitted yet.

    Raises BenchmarkError for wrong parameters, ContractError for a plugin that gives back something else.
    """
    target = resolve(offer)
    values = resolve_params(target, params, str(offer), GIVEN[offer.kind])
    try:
        with contained():
            built = target(**values)
    except BenchmarkError as error:
        if f"'{offer.name}'" in str(error):
            raise
        raise type(error)(f"{offer}: {error}") from error
    except Exception as error:
        what = error_text(error)
        raise ContractError(f"{offer} of {offer.plugin} failed, which is a fault in it: {what}") from error
    if offer.kind == "dataset" and not isinstance(built, Log):
        raise ContractError(
            f"{offer} of {offer.plugin} returned {type(built).__name__}; a data set is a benchmark.Log."
        )
    if offer.kind == "dataset":
        return frozen(built, copy=True)  # the plugin may still hold its arrays, and use them for its next data set
    if not isinstance(built, Model):
        absent = [name for name in ("tasks", "fit", "rank") if not hasattr(built, name)]
        raise ContractError(f"{offer} of {offer.plugin} lacks {', '.join(absent)}: see benchmark.Model.")
    return built


@contained()
def _load_one(
    manager: pluggy.PluginManager, plugin: Plugin, point: importlib.metadata.EntryPoint, disabled: set[str]
) -> tuple[Plugin, list[Offer]]:
    if plugin.word in disabled:
        return replace(plugin, error=f"disabled by {DISABLED}"), []
    if _key(plugin) in os.environ.get(HANGING, "").split(","):
        return replace(plugin, error=f"did not finish loading in {LOAD_SECONDS:g} s"), []
    try:
        module, loaded, offers = _watched(manager, plugin, point)
        manager.register(module, name=_key(plugin))
    except _BrokenError as broken:
        return replace(plugin, error=broken.error, traceback=broken.traceback), []
    except Exception as error:
        return replace(plugin, error=_short(error), traceback=traceback.format_exc()), []
    return loaded, offers


class _BrokenError(Exception):
    """Why a plugin cannot be used: `error` in one line, `traceback` in full."""

    def __init__(self, error: str, traceback: str) -> None:
        super().__init__(error)
        self.error, self.traceback = error, traceback


def _contents(
    manager: pluggy.PluginManager, plugin: Plugin, point: importlib.metadata.EntryPoint
) -> tuple[Any, Plugin, list[Offer]]:
    """The plugin's module, imported now, the plugin with the hooks that it implements, and what it offers."""
    module = point.load()
    plugin = replace(plugin, hooks=_hooks(manager, module))
    return module, plugin, [offer for kind in _HOOK for offer in _offers(kind, module, plugin)]


def _watched(
    manager: pluggy.PluginManager, plugin: Plugin, point: importlib.metadata.EntryPoint
) -> tuple[Any, Plugin, list[Offer]]:
    """`_contents`. Raises _BrokenError for whatever the plugin's code raises, or where it takes more than LOAD_SECONDS.

    It runs in a thread of its own, because nothing else can be left behind when it hangs (except in C code that keeps
    the interpreter's lock); and because Ctrl-C arrives in the main thread, a KeyboardInterrupt there is the plugin's.
    """
    results: list[tuple[Any, Plugin, list[Offer]]] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(_contents(manager, plugin, point))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name=f"loading {plugin}", daemon=True)
    left_out = f"; after {LOAD_SECONDS:g} s it is left out. To disable it: {DISABLED}={plugin.word}"
    with _said_when_slow(f"the plugin {plugin.word} of the package {plugin.distribution}", left_out):
        thread.start()
        thread.join(LOAD_SECONDS)
    if results:
        return results[0]
    if errors:
        raise _BrokenError(_short(errors[0]), "".join(traceback.format_exception(errors[0])))
    os.environ[HANGING] = f"{os.environ.get(HANGING, '')},{_key(plugin)}"
    frame = sys._current_frames().get(thread.ident or 0)
    stack = "".join(traceback.format_stack(frame)) if frame else ""
    raise _BrokenError(f"did not finish loading in {LOAD_SECONDS:g} s", f"Traceback (most recent call last):\n{stack}")


@contextmanager
def _said_when_slow(subject: str, consequence: str = "") -> Iterator[None]:
    """Write to stderr what has been loading for SLOW_SECONDS, if the block takes so long."""
    message = f"{subject} has been loading for {SLOW_SECONDS:g} s{consequence}"
    timer = threading.Timer(SLOW_SECONDS, lambda: sys.stderr.write(f"{visible(message)}\n"))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _hooks(manager: pluggy.PluginManager, module: Any) -> tuple[str, ...]:
    """The hooks a plugin implements. Raises ContractError for what pluggy would pass over in silence."""
    hooks = {name for name in vars(hookspecs) if name.startswith("benchmark_")}
    marked: list[str] = []
    for name in dir(module):
        options = manager.parse_hookimpl_opts(module, name)
        if options is None:
            if name in hooks:
                raise ContractError(f"{name} is not marked with @hookimpl")
            continue
        hook = options.get("specname") or name
        if hook not in hooks:
            close = difflib.get_close_matches(hook, hooks, n=1, cutoff=0.5)
            raise ContractError(f"there is no hook '{hook}'." + (f" Did you mean '{close[0]}'?" if close else ""))
        if options.get("wrapper") or options.get("hookwrapper"):
            raise ContractError(f"{name} is a wrapper; each plugin is called on its own, so it has nothing to wrap")
        marked.append(hook)
    if not marked:
        raise ContractError("no function is marked with @hookimpl, so it adds nothing")
    return tuple(sorted(marked))


def _offers(kind: Kind, module: Any, plugin: Plugin) -> list[Offer]:
    hook = _HOOK[kind]
    if hook not in plugin.hooks:
        return []
    offered = getattr(module, hook)()
    if not isinstance(offered, Mapping):
        raise ContractError(f"{hook} returned {type(offered).__name__}; it must return a mapping from name to target")
    for name, target in offered.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ContractError(f"{hook}: {name!r} is not a name; a name has letters, digits and _ . + -")
        if not (callable(target) or (isinstance(target, str) and _TARGET.fullmatch(target))):
            raise ContractError(
                f"{hook}: the target of '{name}' must be callable or 'module:attribute', got {target!r}"
            )
    return [Offer(kind, name, target, plugin) for name, target in offered.items()]


def home_of(target: Any) -> str:
    """The module of an offer's target."""
    if isinstance(target, str):
        return target.partition(":")[0]
    return str(getattr(target, "__module__", None) or type(target).__module__)


def _callable_names(offer: Offer, function: Any) -> list[str]:
    if not callable(function):
        raise ContractError(f"{offer} of {offer.plugin} cannot be called: {function!r}")
    return list(inspect.signature(function).parameters)


def _needs(offer: Offer, module: str) -> BenchmarkError:
    extras = importlib.metadata.metadata(offer.plugin.distribution).get_all("Provides-Extra") or []
    word = offer.plugin.word
    offered = {re.sub("[-_.]+", "-", extra).lower() for extra in extras}
    package = module.partition(".")[0]
    if re.sub("[-_.]+", "-", word).lower() in offered:
        package = f"'{offer.plugin.distribution}[{word}]'"
    return BenchmarkError(f"{offer} needs '{module}', which is not installed. Install it with: pip install {package}")


def _described(point: importlib.metadata.EntryPoint) -> Plugin:
    metadata = point.dist.metadata if point.dist else {"Name": "unknown", "Version": ""}
    return Plugin(point.name, point.value, metadata["Name"], metadata["Version"])


def _key(plugin: Plugin) -> str:
    return f"{plugin.distribution}:{plugin.word}"


def _short(error: BaseException) -> str:
    try:
        text = (str(error).strip().splitlines() or [""])[0]
    except Exception:
        text = "its message cannot be read"
    return text if isinstance(error, BenchmarkError) else f"{type(error).__name__}: {text}"
