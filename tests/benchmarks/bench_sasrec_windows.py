"""An epoch of SASRec on ml-100k: `training: windows` against RecBole's own Trainer, one thread.

    python tests/benchmarks/bench_sasrec_windows.py [--quick | --full] [--quality EPOCHS]

Both train RecBole's module with RecBole's defaults (width 64, 2 layers, dropout .5, 50 items, softmax over all items,
Adam) on the same targets, 2,048 an update. RecBole's epoch takes minutes, so a sample of its batches is timed, a few
after each of our epochs, and its median batch is multiplied by their number; `--full` times whole epochs. Importing
RecBole switches autograd's anomaly detection on, which slows it down further; it is off here for both.

`--quality EPOCHS` also trains both ways for so many epochs with three seeds and compares R@10 on the test split, scored
by the harness on unmasked lists. `prefixes` stands for RecBole's trainer there, whose loss and batches it has
(tests/plugins/test_recbole.py), because that one splits the log itself. This takes hours.

Exit code 1 where ours is less than 15 times as fast, or its R@10 is significantly lower (paired t-test over users).
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from benchmark_movielens import movielens
from benchmark_recbole.models import SasRec
from recbole_peer import make, scratch
from repeats import spread
from scipy import stats
from threadpoolctl import threadpool_limits

from benchmark import Context, Dataset, Split
from benchmark.data.protocol import Protocol
from benchmark.data.split import split_log

GOAL = 15.0
RECBOLE: dict[str, Any] = {"batch_size": 2048, "learning_rate": 1e-3, "hidden_dropout": 0.5, "attention_dropout": 0.5}


class Some:
    """The first `n` batches of a loader, as a loader."""

    shuffle = False

    def __init__(self, loader: Any, n: int) -> None:
        self.batches = [batch for batch, _ in zip(loader, range(n), strict=False)]

    def __iter__(self) -> Any:
        return iter(self.batches)


def interactions(data: Dataset) -> pd.DataFrame:
    """The log that `data` was split from, the order of a history as its time."""
    rows = data.test["recommendation"].requests
    train = data.train.histories
    users = rows.users
    parts = []
    for name, split in (("valid", data.valid["recommendation"]), ("test", data.test["recommendation"])):
        parts.append((split.requests.users, split.relevant.values, np.full(len(users), 10**6 + (name == "test"))))
    place = np.arange(len(train.values)) - train.offsets[:-1][train.rows]
    user, item, time_ = (np.concatenate(c) for c in zip((train.rows, train.values, place), *parts, strict=True))
    return pd.DataFrame({"user_id": user, "item_id": item, "timestamp": time_})


def speed(data: Dataset, sample: int, repeats: int) -> float:
    """How many times as fast ours is; prints both medians and the ratio."""
    train = data.train
    model = SasRec(**RECBOLE)
    model.n_items_, model.device_ = len(train.catalog), torch.device("cpu")
    module = model.build(train).train()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)

    def ours(seed: int) -> tuple[int, int]:
        updates = targets = 0
        for loss, count in model.losses(module, train, np.random.default_rng(seed)):
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            updates, targets = updates + 1, targets + count
        return updates, targets

    with scratch() as folder:
        settings = {"train_neg_sample_args": None, "loss_type": "CE", "MAX_ITEM_LIST_LENGTH": 50}
        _, trainer, (loader, _, _) = make("SASRec", interactions(data), Path(folder), **settings)
        logging.disable(logging.ERROR)
        n_batches = len(loader)
        some = Some(loader, sample or n_batches)
        theirs: list[float] = []
        own: list[float] = []
        trainer._train_epoch(Some(loader, 1), 0)  # the first batch pays for memory that later ones reuse
        for seed in range(repeats):
            begin = time.perf_counter()
            updates, targets = ours(seed)
            own.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            trainer._train_epoch(some, seed)
            theirs.append((time.perf_counter() - begin) / len(some.batches) * n_batches)
    rows = len(loader.dataset)
    peer, mine = statistics.median(theirs), statistics.median(own)
    said = f"from {len(some.batches)} of them" if sample else "all of them"
    print(f"RecBole's Trainer   {peer:7.1f} s an epoch   {rows} targets in {n_batches} updates, {said}")
    print(f"training: windows   {mine:7.1f} s an epoch   {targets} targets in {updates} updates")
    print(f"ratio               {peer / mine:7.1f}   (goal {GOAL:g}; {spread(theirs, own)})")
    return peer / mine


def hits(params: dict[str, Any], data: Dataset, epochs: int, seed: int) -> np.ndarray:
    """(R,) whether the ten best hold the test item, after `epochs` without early stopping."""
    model = SasRec(**RECBOLE, epochs=epochs, **params)
    with tempfile.TemporaryDirectory() as folder:
        model.fit(data.train, {}, Context(seed, "cpu", Path(folder)))
    test: Split = data.test["recommendation"]
    found: np.ndarray = (model.rank(test.requests, 10).items == test.relevant.values[:, None]).any(axis=1)
    return found.astype(float)


def quality(data: Dataset, epochs: int) -> bool:
    """Whether R@10 of windows is not significantly below that of prefixes, over three seeds."""
    ways = ("windows", "prefixes")
    seeds = {way: [hits({"training": way}, data, epochs, seed) for seed in range(3)] for way in ways}
    for way in ways:
        print(f"{way:9} R@10 after {epochs} epochs, by seed: " + "  ".join(f"{run.mean():.4f}" for run in seeds[way]))
    windows, prefixes = (np.mean(seeds[way], axis=0) for way in ways)
    p = stats.ttest_rel(windows, prefixes).pvalue
    print(f"difference {np.mean(windows - prefixes):+.4f}  p {p:.3f}")
    return bool(np.mean(windows) >= np.mean(prefixes) or p >= 0.05)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one of our epochs and two of RecBole's batches")
    parser.add_argument("--full", action="store_true", help="whole epochs of RecBole")
    parser.add_argument("--quality", type=int, metavar="EPOCHS", default=0, help="compare R@10 too")
    chosen = parser.parse_args()
    threadpool_limits(1)
    torch.set_num_threads(1)
    data = split_log("ml-100k", movielens(variant="ml-100k"), Protocol())
    sample, repeats = (2, 1) if chosen.quick else (0, 1) if chosen.full else (3, 3)
    ratio = speed(data, sample, repeats)
    good = quality(data, chosen.quality) if chosen.quality else True
    return int(ratio < GOAL or not good)


if __name__ == "__main__":
    sys.exit(main())
