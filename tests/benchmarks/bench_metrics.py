"""R@30, nDCG@10 and RR@10 per request: our kernels against ir_measures with its dictionaries ready, one thread.

    python tests/benchmarks/bench_metrics.py [--quick]

Both score the same tie-free rankings, interleaved, and the medians are compared. Exit code 1 where the kernels are less
than 50 times as fast, differ by more than 1e-9, or need more memory beside their results than 10 % of the input.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import ir_measures
import numpy as np
from benchmark_accuracy import benchmark_metrics
from numpy.typing import NDArray
from repeats import spread

from benchmark import Ragged, Ranking

CUTS = {"R": 30, "nDCG": 10, "RR": 10}
DEPTH, ITEMS = 30, 20_000
FASTER, CLOSE, MEMORY = 50, 1e-9, 0.10


def make(requests: int, most_relevant: int) -> tuple[Ranking, Ragged]:
    """Rankings of distinct items, and 1 to `most_relevant` relevant items each, about half of them found."""
    rng = np.random.default_rng(0)
    items = ((rng.integers(0, ITEMS, (requests, 1)) + 7 * np.arange(DEPTH)) % ITEMS).astype(np.int32)
    lengths = rng.integers(1, most_relevant + 1, requests)
    rows = np.repeat(np.arange(requests), lengths)
    column = (
        rng.integers(0, DEPTH, requests)[rows] + np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    )
    found = (column < DEPTH) & (rng.random(len(rows)) < 0.7)
    # An item that is not found is the one 1, 2, … behind a place in the list; steps of 7 never meet it.
    values = np.where(found, items[rows, column % DEPTH], (items[rows, column % DEPTH] + 1) % ITEMS)
    scores = np.broadcast_to(-np.arange(DEPTH, dtype=np.float32), items.shape).copy()
    return Ranking(items, scores), Ragged.from_lengths(lengths, values)


def dictionaries(ranking: Ranking, relevant: Ragged) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    run = {
        str(row): {str(item): float(DEPTH - place) for place, item in enumerate(line)}
        for row, line in enumerate(ranking.items.tolist())
    }
    qrels = {str(row): {str(item): 1 for item in relevant[row].tolist()} for row in range(len(relevant))}
    return qrels, run


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_bytes(work: Callable[[], Any]) -> int:
    """The most memory that `work` holds at a time, its result included."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="40,000 requests instead of 163,000")
    requests = 40_000 if parser.parse_args().quick else 163_000
    kernels = {name: benchmark_metrics()[name] for name in CUTS}
    measures = {getattr(ir_measures, name) @ k: name for name, k in CUTS.items()}
    # RR without a cut-off is another, quicker, provider's: shown so that the ratio does not hang on the slow one.
    uncut = [ir_measures.R @ CUTS["R"], ir_measures.nDCG @ CUTS["nDCG"], ir_measures.RR]
    print(f"{requests:,} requests x {DEPTH}, one thread: {', '.join(map(str, measures))}")
    print("relevant  ours ms  ir_measures ms  ratio  with RR uncut  largest difference  extra memory  ratio by turn")
    failed = False
    for most in (1, 10):
        ranking, relevant = make(requests, most)
        qrels, run = dictionaries(ranking, relevant)

        def ours(ranking: Ranking = ranking, relevant: Ragged = relevant) -> dict[str, NDArray[np.float64]]:
            return {name: np.asarray(kernels[name](ranking, relevant, k)) for name, k in CUTS.items()}

        def theirs(
            of: Iterable[Any], qrels: dict[str, dict[str, int]] = qrels, run: dict[str, dict[str, float]] = run
        ) -> list[Any]:
            return list(ir_measures.iter_calc(list(of), qrels, run))

        times: dict[str, list[float]] = {"ours": [], "theirs": [], "uncut": []}
        for _ in range(3):
            for _ in range(5):
                times["ours"].append(seconds(ours))
            times["theirs"].append(seconds(lambda: theirs(measures)))
            times["uncut"].append(seconds(lambda: theirs(uncut)))
        took = {name: statistics.median(values) for name, values in times.items()}
        values = ours()
        expected = {name: np.zeros(requests) for name in CUTS}
        for score in theirs(measures):
            expected[measures[score.measure]][int(score.query_id)] = score.value
        difference = max(float(np.abs(values[name] - expected[name]).max()) for name in CUTS)
        given = sum(a.nbytes for a in (ranking.items, ranking.scores, relevant.values, relevant.offsets))
        extra = (peak_bytes(ours) - sum(v.nbytes for v in values.values())) / given
        ratio = took["theirs"] / took["ours"]
        failed |= ratio < FASTER or difference > CLOSE or extra > MEMORY
        print(
            f"{'1' if most == 1 else f'1-{most}':>8} {took['ours'] * 1e3:8.1f} {took['theirs'] * 1e3:15.0f} "
            f"{ratio:5.0f}x {took['uncut'] / took['ours']:13.0f}x {difference:19.1e} {extra:13.1%}  "
            f"{spread(times['theirs'], times['ours'])}"
        )
    print(f"goal: ratio >= {FASTER}, difference <= {CLOSE}, memory <= {MEMORY:.0%}: {'missed' if failed else 'met'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
