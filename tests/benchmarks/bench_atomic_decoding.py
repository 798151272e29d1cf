"""Top 30 of 20,000 one-token items by T5-small: Gen.rank against transformers' generate with prefix_allowed_tokens_fn.

Both answer the same requests with the same weights, in turn, in one process, on one thread; the median time of each
counts. Exit code 1 when Gen is not `GOAL` times as fast, or the lists or scores differ. `--quick` measures one turn
of fewer requests.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from benchmark_generative import t5
from benchmark_generative.gen import Gen
from benchmark_generative.tokens import Vocabulary, train_words
from repeats import spread
from tabulate import tabulate

from benchmark import Ragged, Ranking, Requests
from benchmark.testing import make_requests

GOAL = 8.0
TOLERANCE = 1e-4
WORDS, ITEMS, DEPTH = 32_128, 20_000, 30
"""T5's own vocabulary and the item tokens behind it."""
BATCH = 32


def t5_small(device: str) -> Gen:
    """A Gen that has T5-small's sizes and random weights, as if it had been fitted."""
    torch.manual_seed(0)
    model = Gen(max_history=50)
    model.network_ = t5.from_scratch(WORDS + ITEMS, 512, 2048, heads=8, layers=6, decoder_layers=6, dropout=0.1)
    model.network_.to(device).eval()
    model.vocabulary_ = Vocabulary(train_words([]), WORDS, ITEMS)
    return model


def some_requests(n: int) -> Requests:
    """Histories of 5 to 50 items."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 51, n)
    histories = Ragged.from_lengths(lengths, rng.integers(0, ITEMS, lengths.sum()))
    return make_requests(histories, users=np.arange(n))


def generate(model: Gen, requests: Requests) -> Ranking:
    """The same by transformers, in batches of requests of similar length, so that both pad as little."""
    network, first = model.network_, model.vocabulary_.first_item
    inputs = model.vocabulary_.histories(requests.histories, 50).to(network.device)
    allowed = list(range(first, first + ITEMS))
    out = Ranking(np.zeros((len(requests), DEPTH), np.int32), np.zeros((len(requests), DEPTH), np.float32))
    order = inputs.length.argsort(stable=True)
    for at in range(0, len(order), BATCH):
        rows = order[at : at + BATCH]
        tokens, mask = inputs.batch(rows, pad=0, eos=1)
        with torch.inference_mode():
            found = network.generate(
                input_ids=tokens,
                attention_mask=mask,
                num_beams=DEPTH,
                num_return_sequences=DEPTH,
                max_new_tokens=1,
                do_sample=False,
                length_penalty=0.0,
                prefix_allowed_tokens_fn=lambda batch, sent: allowed,
                return_dict_in_generate=True,
                output_scores=True,
            )
        places = rows.cpu().numpy()
        out.items[places] = (found.sequences[:, 1].reshape(-1, DEPTH) - first).cpu().numpy()
        out.scores[places] = found.sequences_scores.reshape(-1, DEPTH).cpu().numpy()
    return out


def timed(call: Callable[[], Ranking], device: str) -> tuple[float, Ranking]:
    start = time.perf_counter()
    ranking = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, ranking


def compare(device: str, n: int, turns: int) -> bool:
    """Measure on one device, print the table, and say whether the goal is reached with equal lists and scores."""
    model, requests = t5_small(device), some_requests(n)
    model.rank(requests.take(np.arange(min(n, BATCH))), DEPTH)
    generate(model, requests.take(np.arange(2)))
    ours, theirs = [], []
    for _ in range(turns):
        seconds, ranking = timed(lambda: model.rank(requests, DEPTH), device)
        ours.append(seconds)
        seconds, expected = timed(lambda: generate(model, requests), device)
        theirs.append(seconds)
    ratio = median(theirs) / median(ours)
    difference = float(np.abs(ranking.scores - expected.scores).max())
    # Two items closer than float32 tells apart may change places; their scores say so.
    same = float((ranking.items == expected.items).mean())
    rows = [
        ["Gen.rank", n / median(ours), 1e3 * median(ours) / n, ratio],
        ["generate(prefix_allowed_tokens_fn)", n / median(theirs), 1e3 * median(theirs) / n, 1.0],
    ]
    headers = ["", "requests/s", "ms/request", "times as fast"]
    print(f"{device}: {n} requests, top {DEPTH} of {ITEMS:,} items, T5-small, medians; ratio {spread(theirs, ours)}")
    print(tabulate(rows, headers=headers, floatfmt=".1f"))
    print(f"same item at the same place {same:.4f}, largest difference of scores {difference:.1e}\n")
    return ratio >= GOAL and same >= 0.999 and difference <= TOLERANCE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one turn of fewer requests")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    reached = compare("cpu", n=32 if quick else 64, turns=1 if quick else 3)
    if torch.cuda.is_available():
        reached &= compare("cuda", n=128 if quick else 1024, turns=1 if quick else 3)
    print(f"goal: {GOAL:.0f} times as fast with the same lists: {'reached' if reached else 'missed'}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
