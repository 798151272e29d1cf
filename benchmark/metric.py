"""Metrics as a suite writes them, AP(rel=2)@100 or HR@10|uni99: their names, read in one place, which of their values
are better, and how they are called."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from benchmark.data.ragged import Floats, Longs, Ragged
from benchmark.data.ranking import Ranking
from benchmark.errors import BenchmarkError, ContractError
from benchmark.isolation import contained

Better = Literal["higher", "lower", "neither"]
SIDES: tuple[str, ...] = get_args(Better)

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FORM = re.compile(r"(?P<name>[^(@|]*)(?:\((?P<arguments>[^)|]*)\))?(?:@(?P<k>[^|]*))?(?:\|(?P<candidates>[^|]+))?")


@dataclass(frozen=True)
class MetricName:
    """A metric as a suite writes it: AP(rel=2)@100|uni99 is `name` AP with the `arguments` rel=2, the cut-off `k` 100,
    over the candidate list uni99. `k` is None for the whole ranking, `candidates` empty for the whole catalogue."""

    name: str
    arguments: Mapping[str, Any]
    k: int | None
    candidates: str


def parse_metric(text: str) -> MetricName:
    """Take a metric's name apart; the registry knows whether there is such a metric.

    Raises BenchmarkError where the text is not written as a metric is.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise BenchmarkError(
            f"metric '{text}' is not written as name, name@k or name(parameter=value)@k, or with a candidate list "
            "after it as in name@k|uni99."
        )
    name, k = match["name"], match["k"]
    if k is not None and not re.fullmatch("[1-9][0-9]*", k):
        raise BenchmarkError(
            f"metric '{text}': the cut-off '{k}' must be a whole number from 1, as in {name or 'nDCG'}@10."
        )
    arguments = _arguments(text, match["arguments"] or "")
    return MetricName(name, arguments, None if k is None else int(k), match["candidates"] or "")


def _arguments(text: str, written: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f({written})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError(written)
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError):
        raise BenchmarkError(f"metric '{text}': '{written}' is not written as parameter=value.") from None


def better(side: Better) -> Callable[[_Function], _Function]:
    """Say which values of a metric are better: `@better("lower")` above its function sets the function's attribute
    `better`. Raises ContractError for another word than higher, lower and neither."""
    if side not in SIDES:
        raise ContractError(f"better({side!r}): a metric's better values are 'higher', 'lower' or 'neither'.")

    def mark(function: _Function) -> _Function:
        function.better = side  # type: ignore[attr-defined]
        return function

    return mark


@dataclass(frozen=True)
class BoundMetric:
    """A metric as a suite writes it, "AP(rel=2)@100" or "HR@10|uni99": ready to be called.

    `k` is None for the whole ranking, `candidates` the list whose ranking it is for, empty for the whole catalogue's.
    `better` says which values are better, None where the metric does not say: then higher ones of a metric with a value
    per request, neither of one number about all lists.
    """

    name: str
    k: int | None
    function: Callable[..., Floats | float]
    wants_popularity: bool = False
    candidates: str = ""
    better: Better | None = None

    def __call__(self, ranking: Ranking, relevant: Ragged, popularity: Longs) -> Floats | float:
        """One value per request, or one number about all lists. `popularity` (N,) are training counts of the task."""
        k = ranking.items.shape[1] if self.k is None else self.k
        more = {"popularity": popularity} if self.wants_popularity else {}
        with contained():
            return self.function(ranking, relevant, k, **more)
