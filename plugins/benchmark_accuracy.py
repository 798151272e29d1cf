"""Accuracy per request: R, P, nDCG, RR, Success (HR) and AP on integer arrays, all other measures through ir_measures.

The fast kernels find the rank of each *relevant* item by comparing it with its request's row, in blocks that fit into
the cache; every measure then follows from these ranks, without an array of floats of the ranking's size.
Definitions are those of trec_eval, and so of ir_measures: recall is hits / number of relevant items, nDCG has linear
gains, a request without a ranking or without a relevant item scores 0. Axis letters: R requests, K columns of the
ranking; b requests of a block, with v relevant items.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark import PAD, BenchmarkError, ContractError, Metric, Ragged, Ranking, hookimpl

Floats = NDArray[np.float64]

CELLS_PER_BLOCK = 1 << 17
"""Comparisons per block: their operands fit into a core's second-level cache."""


@dataclass(frozen=True)
class Block:
    """Consecutive requests; the relevant items of request i are those from `offsets[i]` to `offsets[i + 1]` (b+1,).

    `ranks` (v,) are their 0-based ranks, k for an item that is not among the first k; `grades` (v,), None: all 1.
    """

    offsets: NDArray[np.int64]
    ranks: NDArray[np.int32]
    grades: NDArray[np.float32] | None
    k: int

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    @cached_property
    def filled(self) -> NDArray[np.int64]:
        """The numbers of the requests that have a relevant item."""
        return np.flatnonzero(self.lengths)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(v,) the request of every relevant item."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def reduce(self, ufunc: np.ufunc, values: NDArray[Any]) -> Floats:
        """(b,) `ufunc` over every request's part of `values` (v,); 0 for requests without one."""
        if len(self.filled) == len(values) == len(self.lengths):  # one relevant item each
            return values.astype(np.float64)
        out = np.zeros(len(self.lengths))
        if len(self.filled):
            out[self.filled] = ufunc.reduceat(values, self.offsets[self.filled])
        return out

    def sum(self, values: NDArray[Any]) -> Floats:
        return self.reduce(np.add, values)

    def relevant(self, rel: int) -> Block:
        """Only the items with a grade of at least `rel`."""
        if self.grades is None and rel <= 1:
            return self
        keep = np.zeros(len(self.ranks), dtype=bool) if self.grades is None else self.grades >= rel
        offsets = np.concatenate([[0], np.cumsum(keep)])[self.offsets]
        return Block(offsets, self.ranks[keep], None, self.k)

    @property
    def hits(self) -> Floats:
        return self.sum((self.ranks < self.k).astype(np.float64))


def blocks(ranking: Ranking, relevant: Ragged, k: int) -> Iterator[tuple[slice, Block]]:
    """The requests in order, a block at a time, with the ranks of their relevant items."""
    items = ranking.items[:, :k]
    offsets = relevant.offsets
    budget = max(1, CELLS_PER_BLOCK // max(1, items.shape[1]))
    start = 0
    while start < len(relevant):
        fit = int(np.searchsorted(offsets, offsets[start] + budget, side="right")) - 1
        stop = min(max(fit, start + 1), start + CELLS_PER_BLOCK)
        part = slice(int(offsets[start]), int(offsets[stop]))
        grades = None if relevant.grades is None else relevant.grades[part]
        local = offsets[start : stop + 1] - offsets[start]
        yield slice(start, stop), Block(local, _ranks(items[start:stop], local, relevant.values[part], k), grades, k)
        start = stop


def _ranks(
    items: NDArray[np.int32], offsets: NDArray[np.int64], values: NDArray[np.int32], k: int
) -> NDArray[np.int32]:
    """(v,) the column of each value in its own row of `items` (b, K); `k` where it is absent."""
    if len(values) != len(items) or not (np.diff(offsets) == 1).all():
        items = np.repeat(items, np.diff(offsets), axis=0)
    ranks = np.full(len(values), k, dtype=np.int32)
    hits = np.flatnonzero(items == values[:, None])
    row, column = np.divmod(hits, max(1, items.shape[1]))
    ranks[row] = column
    return ranks


def recall(block: Block) -> Floats:
    return block.hits / np.maximum(block.lengths, 1)


def precision(block: Block) -> Floats:
    return block.hits / block.k


def success(block: Block) -> Floats:
    return (block.hits > 0).astype(np.float64)


def reciprocal_rank(block: Block) -> Floats:
    reciprocal = np.append(1 / np.arange(1.0, block.k + 1), 0)
    return block.reduce(np.maximum, reciprocal[block.ranks])


def average_precision(block: Block) -> Floats:
    """The sum of the precision at the rank of each ranked relevant item, divided by the number of relevant items."""
    ranks = block.ranks[np.lexsort((block.ranks, block.rows))]
    nth = np.arange(1, len(ranks) + 1) - block.offsets[:-1][block.rows]
    return block.sum(np.where(ranks < block.k, nth / (ranks + 1.0), 0)) / np.maximum(block.lengths, 1)


def ndcg(block: Block) -> Floats:
    """The sum of grade / log2(rank + 1), divided by that of the best order of all relevant items (trec_eval)."""
    discount = np.append(1 / np.log2(np.arange(2.0, block.k + 2)), 0)
    if block.grades is None:
        gained = block.sum(discount[block.ranks])
        ideal = np.append(0, np.cumsum(discount[:-1]))[np.minimum(block.lengths, block.k)]
    else:
        gains = np.maximum(block.grades, 0).astype(np.float64)
        gained = block.sum(gains * discount[block.ranks])
        best = gains[np.lexsort((-gains, block.rows))]
        nth = np.arange(len(best)) - block.offsets[:-1][block.rows]
        ideal = block.sum(best * discount[np.minimum(nth, block.k)])
    return gained / np.where(ideal > 0, ideal, 1)


def _check(ranking: Ranking, relevant: Ragged, k: int) -> None:
    if len(ranking) != len(relevant):
        raise ContractError(
            f"{len(ranking)} rankings cannot be scored against the relevant items of {len(relevant)} requests."
        )
    if k < 1:
        raise BenchmarkError(f"a metric was asked for at the cut-off {k}; a cut-off is at least 1, as in nDCG@10.")


@dataclass(frozen=True)
class Kernel:
    """A measure that is computed here; `name` is its name in ir_measures.

    Binary measures have the parameter `rel`, the lowest grade that counts as relevant (1). With any other parameter
    ir_measures computes the measure.
    """

    name: str
    compute: Callable[[Block], Floats]
    binary: bool = True
    better: ClassVar[str] = "higher"

    def __call__(self, ranking: Ranking, relevant: Ragged, k: int, **params: Any) -> Floats:
        """(R,) one value per request. Raises BenchmarkError for a parameter that the measure does not have."""
        if params.keys() - ({"rel"} if self.binary else set()):
            return Bridge(self.name)(ranking, relevant, k, **params)
        _check(ranking, relevant, k)
        out = np.empty(len(ranking))
        for rows, block in blocks(ranking, relevant, k):
            out[rows] = self.compute(block.relevant(params.get("rel", 1)) if self.binary else block)
        return out


@dataclass(frozen=True)
class Bridge:
    """Any measure of ir_measures. It gets ranks as scores, so that only the order of a ranking counts.

    A measure without a cut-off parameter (Rprec, Bpref, SetP …) gets the first k items. Counts (NumRet …) are per
    request. ir_measures makes Python objects for every item: seconds for 100,000 requests.
    """

    name: str

    @property
    def better(self) -> str:
        return "neither" if self.name in COUNTS else "higher"

    def __call__(self, ranking: Ranking, relevant: Ragged, k: int, **params: Any) -> Floats:
        """(R,) one value per request. Raises BenchmarkError for parameters or a provider that ir_measures lacks."""
        _check(ranking, relevant, k)
        import ir_measures

        measure = _measure(self.name, k, ranking.items.shape[1], params)
        items = ranking.items if "cutoff" in measure.params else ranking.items[:, :k]
        out = np.zeros(len(ranking))
        try:
            for score in ir_measures.evaluator([measure], _qrels(relevant)).iter_calc(_run(items)):
                out[int(score.query_id)] = score.value
        except (ValueError, ArithmeticError) as error:
            raise BenchmarkError(f"ir_measures cannot compute {measure} here: {error}") from error
        return out


def _measure(name: str, k: int, width: int, params: Mapping[str, Any]) -> Any:
    """The measure with its cut-off, or without it if no provider has one and the cut list gives the same value."""
    import ir_measures

    kind = ir_measures.measures.registry[name]
    supported = kind.SUPPORTED_PARAMS
    values = {**params, "cutoff": k} if "cutoff" in supported else dict(params)
    wrong = [f"there is no parameter '{param}'" for param in sorted(values.keys() - supported.keys())]
    for param, info in supported.items():
        if param in values and not info.validate(values[param]):
            wrong.append(f"'{param}' cannot be {values[param]!r}")
        elif param not in values and info.required:
            wrong.append(f"'{param}' must be given")
    if wrong:
        names = ", ".join(sorted(supported.keys() - {"cutoff"})) or "none"
        raise BenchmarkError(f"metric {name}: {'; '.join(wrong)}. Its parameters: {names}.")
    measure = kind(**values)
    if (k >= width or measure.NAME == "RBP") and not ir_measures.DefaultPipeline.supports(measure):
        return kind(**params)
    return measure


def _qrels(relevant: Ragged) -> dict[str, dict[str, int]]:
    grades = np.ones(len(relevant.values), dtype=np.float32) if relevant.grades is None else relevant.grades
    if (grades != np.rint(grades)).any():
        raise BenchmarkError(
            "ir_measures needs whole grades of relevance; round those of the data set, "
            f"or use one of {', '.join(sorted(KERNELS))} without parameters."
        )
    items, whole, offsets = relevant.values.astype(str).tolist(), grades.astype(int).tolist(), relevant.offsets.tolist()
    return {
        str(row): dict(zip(items[start:stop], whole[start:stop], strict=True))
        for row, (start, stop) in enumerate(itertools.pairwise(offsets))
        if stop > start
    }


def _run(items: NDArray[np.int32]) -> dict[str, dict[str, float]]:
    scores = np.arange(items.shape[1], 0, -1, dtype=np.float64).tolist()
    run = {
        str(row): {str(item): score for item, score in zip(line, scores, strict=True) if item != PAD}
        for row, line in enumerate(items.tolist())
    }
    return {row: ranked for row, ranked in run.items() if ranked}


_SUCCESS = Kernel("Success", success)
KERNELS: Mapping[str, Kernel] = {
    "R": Kernel("R", recall),
    "P": Kernel("P", precision),
    "nDCG": Kernel("nDCG", ndcg, binary=False),
    "RR": Kernel("RR", reciprocal_rank),
    "AP": Kernel("AP", average_precision),
    "Success": _SUCCESS,
    "HR": _SUCCESS,
}
ALIASES = {"Recall": "R", "Precision": "P", "NDCG": "nDCG", "MRR": "RR", "MAP": "AP"}
BRIDGED = (
    *("AP_IA", "Accuracy", "BPM", "BPref", "Bpref", "Compat", "ERR", "ERR_IA", "INSQ", "INST", "IPrec", "Judged"),
    *("MAP_IA", "NERR10", "NERR11", "NERR8", "NERR9", "NRBP", "NumQ", "NumRel", "NumRelRet", "NumRet", "P_IA", "RBP"),
    *("RPrec", "Rprec", "SDCG", "SetAP", "SetF", "SetP", "SetR", "SetRelP", "StRecall", "alpha_DCG", "alpha_nDCG"),
    *("infAP", "nERR_IA", "nNRBP", "α_DCG", "α_nDCG"),
)
COUNTS = ("Judged", "NumQ", "NumRel", "NumRet")
"""The measures that count what was asked, judged or returned, and do not say how good it is."""


@hookimpl
def benchmark_metrics() -> Mapping[str, Metric]:
    return {
        **KERNELS,
        **{alias: KERNELS[name] for alias, name in ALIASES.items()},
        **{name: Bridge(name) for name in BRIDGED},
    }
