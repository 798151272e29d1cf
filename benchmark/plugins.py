"""Plugins: found through entry points, loaded one by one so that a broken one harms no other, and what they offer."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pluggy

from benchmark import hookspecs
from benchmark.errors import BenchmarkError, ContractError, unknown
from benchmark.hookspecs import NAME
from benchmark.parameters import as_json, resolve_params
from benchmark.types import Floats, Log, Longs, Model, Ragged, Ranking

DISABLED = "BENCHMARK_DISABLED_PLUGINS"
Kind = Literal["dataset", "model", "metric", "analysis"]
_HOOK: dict[Kind, str] = {
    "dataset": "benchmark_datasets",
    "model": "benchmark_models",
    "metric": "benchmark_metrics",
    "analysis": "benchmark_analyses",
}
_SAID: dict[Kind, str] = {"dataset": "data set", "model": "model", "metric": "metric", "analysis": "analysis"}
_GIVEN: dict[Kind, tuple[str, ...]] = {
    "dataset": (),
    "model": (),
    "metric": ("ranking", "relevant", "k", "popularity"),
    "analysis": (),
}
_NAME = re.compile(r"\w[\w.+-]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_METRIC = re.compile(r"(?P<name>[^(@|]*)(?:\((?P<arguments>[^)|]*)\))?(?:@(?P<k>[^|]*))?(?:\|(?P<list>[^|]+))?")


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
    """Something that a suite can name. `target` is the thing itself or "module:attribute"."""

    kind: Kind
    name: str
    target: Any
    plugin: Plugin

    def __str__(self) -> str:
        return f"{_SAID[self.kind]} '{self.name}'"


@dataclass(frozen=True)
class BoundMetric:
    """A metric as a suite writes it, "AP(rel=2)@100" or "HR@10|uni99": ready to be called.

    `k` is None for the whole ranking, `candidates` the list whose ranking it is for, empty for the whole catalogue's.
    """

    name: str
    k: int | None
    function: Callable[..., Floats | float]
    wants_popularity: bool = False
    candidates: str = ""

    def __call__(self, ranking: Ranking, relevant: Ragged, popularity: Longs) -> Floats | float:
        """One value per request, or one number about all lists. `popularity` (N,) are training counts of the task."""
        k = ranking.items.shape[1] if self.k is None else self.k
        if self.wants_popularity:
            return self.function(ranking, relevant, k, popularity=popularity)
        return self.function(ranking, relevant, k)


@dataclass(frozen=True)
class Registry:
    """All plugins, and what those in use offer, by name. `problems` are names offered twice, one sentence each."""

    plugins: tuple[Plugin, ...]
    datasets: Mapping[str, Offer]
    models: Mapping[str, Offer]
    metrics: Mapping[str, Offer]
    analyses: Mapping[str, Offer]
    problems: tuple[str, ...] = ()
    _manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(NAME), repr=False)

    def offer(self, kind: Kind, name: str, where: str = "") -> Offer:
        """What is offered by this name. Raises BenchmarkError with the closest name, and the plugins not in use."""
        tables = {"dataset": self.datasets, "model": self.models, "metric": self.metrics, "analysis": self.analyses}
        if name in tables[kind]:
            return tables[kind][name]
        error = unknown(_SAID[kind], name, tables[kind], where)
        absent = "; ".join(f"{plugin}: {plugin.error}" for plugin in self.plugins if plugin.error)
        raise BenchmarkError(f"{error} Not in use: {absent}" if absent else str(error))

    def metric(self, spec: str) -> BoundMetric:
        """The metric that a suite writes as "nDCG@10", "AP(rel=2)@100", "RR" or "HR@10|uni99". Raises
        BenchmarkError."""
        match = _METRIC.fullmatch(spec)
        if match is None:
            raise BenchmarkError(
                f"metric '{spec}' is not written as name, name@k or name(parameter=value)@k, or with a candidate list "
                "behind it as in name@k|uni99."
            )
        offer = self.offer("metric", match["name"])
        if match["k"] is not None and not re.fullmatch("[1-9][0-9]*", match["k"]):
            raise BenchmarkError(
                f"metric '{spec}': the cut-off '{match['k']}' must be a whole number from 1, as in {offer.name}@10."
            )
        function = resolve(offer)
        names = _callable_names(offer, function)
        if names[:3] != ["ranking", "relevant", "k"]:
            raise ContractError(
                f"{offer}: its arguments must begin with ranking, relevant, k; they are {', '.join(names)}."
            )
        given = _arguments(spec, match["arguments"] or "")
        bound = resolve_params(function, given, str(offer), _GIVEN["metric"])
        return BoundMetric(
            spec,
            None if match["k"] is None else int(match["k"]),
            functools.partial(function, **bound) if bound else function,
            "popularity" in names,
            match["list"] or "",
        )

    def notify(self, hook: str, **arguments: Any) -> list[tuple[Plugin, Exception]]:
        """Call every plugin's `hook` on its own, and give back who failed with what.

        A BenchmarkError from `benchmark_suite_started` is raised: it refuses the run.
        """
        plugins = {_key(plugin): plugin for plugin in self.plugins}
        failed: list[tuple[Plugin, Exception]] = []
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            try:
                implementation.function(*(arguments[name] for name in implementation.argnames))
            except Exception as error:
                if hook == "benchmark_suite_started" and isinstance(error, BenchmarkError):
                    raise
                failed.append((plugins[implementation.plugin_name], error))
        return failed


def load(strict: bool = True) -> Registry:
    """Every installed plugin, broken ones with their error.

    Raises BenchmarkError for a name that is offered twice, or a word in BENCHMARK_DISABLED_PLUGINS that no plugin has;
    without `strict` these are listed as `problems`, and the first plugin by name keeps the offer.
    """
    manager = pluggy.PluginManager(NAME)
    manager.add_hookspecs(hookspecs)
    found = sorted(importlib.metadata.entry_points(group=NAME), key=lambda point: (_distribution(point)[0], point.name))
    disabled = {word.strip() for word in os.environ.get(DISABLED, "").split(",")} - {""}
    problems = [
        str(unknown("plugin", word, {p.name for p in found}, DISABLED))
        for word in sorted(disabled - {p.name for p in found})
    ]
    plugins: list[Plugin] = []
    tables: dict[Kind, dict[str, Offer]] = {kind: {} for kind in _HOOK}
    for point in found:
        plugin, offers = _load_one(manager, point, disabled)
        plugins.append(plugin)
        for offer in offers:
            first = tables[offer.kind].setdefault(offer.name, offer)
            if first is not offer:
                problems.append(
                    f"{offer} is offered twice: by {first.plugin} and by {plugin}. "
                    f"Uninstall one, or disable it: {DISABLED}={plugin.word}"
                )
    if strict and problems:
        raise BenchmarkError("\n".join(problems))
    return Registry(
        tuple(plugins),
        tables["dataset"],
        tables["model"],
        tables["metric"],
        tables["analysis"],
        tuple(problems),
        manager,
    )


def resolve(offer: Offer) -> Any:
    """The class or function behind an offer, imported now.

    Raises BenchmarkError with the pip command where a module it imports is missing, ContractError for a wrong target.
    """
    if not isinstance(offer.target, str):
        return offer.target
    module, _, attribute = offer.target.partition(":")
    try:
        return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except ModuleNotFoundError as error:
        missing = error.name or module
        if f"{module}.".startswith(f"{missing}."):
            raise ContractError(f"{offer} of {offer.plugin}: there is no module '{missing}'.") from error
        raise _needs(offer, missing) from error
    except Exception as error:
        raise ContractError(
            f"{offer} of {offer.plugin}: '{offer.target}' cannot be imported: {_short(error)}"
        ) from error


def check_requirements(offer: Offer) -> None:
    """Raise BenchmarkError, with the pip command, where a module named in the target's `requires` is not installed."""
    for module in getattr(resolve(offer), "requires", ()):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            raise _needs(offer, module)


def check_params(offer: Offer, params: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters with their values, defaults included, in JSON types. Raises BenchmarkError for a wrong one."""
    return as_json(resolve_params(resolve(offer), params, str(offer), _GIVEN[offer.kind]))


def build(offer: Offer, params: Mapping[str, Any]) -> Any:
    """The data set's Log, or a model that is not fitted yet.

    Raises BenchmarkError for wrong parameters, ContractError for a plugin that gives back something else.
    """
    target = resolve(offer)
    values = resolve_params(target, params, str(offer), _GIVEN[offer.kind])
    try:
        built = target(**values)
    except BenchmarkError as error:
        if f"'{offer.name}'" in str(error):
            raise
        raise type(error)(f"{offer}: {error}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ContractError(f"{offer} of {offer.plugin} failed, which is a fault in it: {what}") from error
    if offer.kind == "dataset" and not isinstance(built, Log):
        raise ContractError(
            f"{offer} of {offer.plugin} returned {type(built).__name__}; a data set is a benchmark.Log."
        )
    if offer.kind == "model" and not isinstance(built, Model):
        absent = [name for name in ("tasks", "fit", "rank") if not hasattr(built, name)]
        raise ContractError(f"{offer} of {offer.plugin} lacks {', '.join(absent)}: see benchmark.Model.")
    return built


def _load_one(
    manager: pluggy.PluginManager, point: importlib.metadata.EntryPoint, disabled: set[str]
) -> tuple[Plugin, list[Offer]]:
    plugin = Plugin(point.name, point.value, *_distribution(point))
    if point.name in disabled:
        return replace(plugin, error=f"disabled by {DISABLED}"), []
    module: Any = None
    try:
        module = point.load()
        plugin = replace(plugin, hooks=_hooks(manager, module))
        manager.register(module, name=_key(plugin))
        offers = [offer for kind in _HOOK for offer in _offers(kind, module, plugin)]
        return plugin, offers
    except (Exception, SystemExit) as error:
        if manager.is_registered(module):
            manager.unregister(module)
        return replace(plugin, hooks=(), error=_short(error), traceback=traceback.format_exc()), []


def _hooks(manager: pluggy.PluginManager, module: Any) -> tuple[str, ...]:
    """The hooks a plugin implements. Raises ContractError for what pluggy would pass over in silence."""
    known = {name for name in vars(hookspecs) if name.startswith("benchmark_")}
    marked: list[str] = []
    for name in dir(module):
        options = manager.parse_hookimpl_opts(module, name)
        if options is None:
            if name in known:
                raise ContractError(f"{name} is not marked with @hookimpl")
            continue
        hook = options.get("specname") or name
        if hook not in known:
            close = difflib.get_close_matches(hook, known, n=1, cutoff=0.5)
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
            raise ContractError(f"{hook}: {name!r} is no name; letters, digits and _ . + - are")
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


def _arguments(spec: str, written: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f({written})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError(written)
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError):
        raise BenchmarkError(f"metric '{spec}': '{written}' is not written as parameter=value.") from None


def _needs(offer: Offer, module: str) -> BenchmarkError:
    extras = importlib.metadata.metadata(offer.plugin.distribution).get_all("Provides-Extra") or []
    word = offer.plugin.word
    known = {re.sub("[-_.]+", "-", extra).lower() for extra in extras}
    package = module.partition(".")[0]
    if re.sub("[-_.]+", "-", word).lower() in known:
        package = f"'{offer.plugin.distribution}[{word}]'"
    return BenchmarkError(f"{offer} needs '{module}', which is not installed. Install it with: pip install {package}")


def _distribution(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("unknown", "")


def _key(plugin: Plugin) -> str:
    return f"{plugin.distribution}:{plugin.word}"


def _short(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return text if isinstance(error, BenchmarkError) else f"{type(error).__name__}: {text}"
