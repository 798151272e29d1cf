"""Full-catalogue top-30 with masked items, and R@30, nDCG@10, RR@10: our path against RecBole's evaluate, one thread.

    python tests/benchmarks/bench_full_ranking.py [--quick]

20,000 users × 20,000 items, dot products of width 64 (RecBole's BPR with its initial weights), each user's seen
items masked. Both start from the same weights and end with the three means; they run in turn, and medians are compared.
Exit code 1 where ours is less than 3 times as fast or the means differ by more than 1e-4.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmark_accuracy import benchmark_metrics
from recbole_peer import make, scratch
from repeats import spread
from threadpoolctl import threadpool_limits

from benchmark import Ragged, Ranking, Requests, top_k
from benchmark.testing import make_requests

GOAL, CLOSE, WIDTH, EACH, BATCH = 3.0, 1e-4, 64, 20, 128
CUTS = {"R": 30, "nDCG": 10, "RR": 10}


def log(users: int, items: int) -> pd.DataFrame:
    """`EACH` distinct random items for every user, one a second; every item occurs."""
    rng = np.random.default_rng(0)
    first = rng.permutation(np.arange(users * EACH) % items).reshape(users, EACH)
    rows = (first[:, :1] + np.cumsum(rng.integers(1, items // EACH, (users, EACH)), axis=1)) % items
    return pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(users), EACH),
            "item_id": rows.ravel(),
            "timestamp": np.tile(np.arange(EACH), users),
        }
    )


def ours(user: np.ndarray, item: np.ndarray, requests: Requests, relevant: Ragged) -> dict[str, float]:
    """The three means, from the weights (R, 64) and (N, 64)."""
    parts = []
    for begin in range(0, len(requests), BATCH):
        batch = requests.take(np.arange(begin, min(begin + BATCH, len(requests))))
        parts.append(top_k(user[begin : begin + BATCH] @ item.T, batch, 30))
    ranking = Ranking(np.concatenate([p.items for p in parts]), np.concatenate([p.scores for p in parts]))
    metrics = benchmark_metrics()
    return {f"{name}@{k}": float(np.mean(metrics[name](ranking, relevant, k))) for name, k in CUTS.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 users, one run each")
    quick = parser.parse_args().quick
    threadpool_limits(1)
    torch.set_num_threads(1)
    users, items, repeats = (2_000, 20_000, 1) if quick else (20_000, 20_000, 3)
    with scratch() as folder:
        settings = {
            "embedding_size": WIDTH,
            "metrics": ["Recall", "NDCG", "MRR"],
            "topk": [10, 30],
            "valid_metric": "MRR@10",
        }
        frame = log(users, items)
        _, trainer, (_, _, test) = make("BPR", frame, Path(folder), metric_decimal_place=6, **settings)
        logging.disable(logging.ERROR)
        dataset, module = test._dataset, trainer.model
        row_of = dataset.field2token_id["user_id"]
        known = frame[frame.item_id.isin([int(t) for t in dataset.field2id_token["item_id"][1:]])]
        user_row = np.array([row_of[str(u)] for u in range(users)])
        item_row = np.array([dataset.field2token_id["item_id"][str(i)] for i in known.item_id]) - 1
        histories = Ragged.from_pairs(known.user_id, item_row, users)
        relevant = histories.last(1)
        seen = histories.keep(np.arange(len(histories.values)) != histories.offsets[1:][histories.rows] - 1)
        requests = make_requests(seen, users=np.arange(users), exclude=seen)
        user_weight = module.user_embedding.weight.detach().numpy()[user_row]
        item_weight = module.item_embedding.weight.detach().numpy()[1:]
        seconds: dict[str, list[float]] = {"RecBole": [], "ours": []}
        for _ in range(repeats):
            begin = time.perf_counter()
            theirs = trainer.evaluate(test, load_best_model=False)
            seconds["RecBole"].append(time.perf_counter() - begin)
            begin = time.perf_counter()
            values = ours(user_weight, item_weight, requests, relevant)
            seconds["ours"].append(time.perf_counter() - begin)
    wanted = {"R@30": theirs["recall@30"], "nDCG@10": theirs["ndcg@10"], "RR@10": theirs["mrr@10"]}
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:8} {median:8.2f} s  {users / median:8.0f} users/s")
    apart = max(abs(values[name] - wanted[name]) for name in wanted)
    ratio = medians["RecBole"] / medians["ours"]
    print(f"ratio    {ratio:8.2f}    (goal {GOAL:g}; {spread(seconds['RecBole'], seconds['ours'])})")
    print(f"means differ by {apart:.1e} (at most {CLOSE:g}): {values}")
    return int(ratio < GOAL or apart > CLOSE)


if __name__ == "__main__":
    sys.exit(main())
