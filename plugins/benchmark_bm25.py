"""BM25 over the items' texts through PyTerrier, with the PISA engine (no Java) or Terrier itself."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import (
    BenchmarkError,
    Context,
    NonNegative,
    NotFittedError,
    Ragged,
    Ranking,
    Requests,
    Share,
    Split,
    Task,
    Train,
    hookimpl,
    words,
)

if TYPE_CHECKING:
    import pandas as pd

Document = dict[str, str]
Search = Callable[["pd.DataFrame", int], "pd.DataFrame"]
Hits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
_NO_HITS = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))

RESULTS_PER_BATCH = 2_000_000
"""(query, item) results requested from the engine at once; each is a row of a DataFrame."""
SPARE = 8
"""Results requested per query beyond those wanted, so that most ties at the cut-off need no second call."""


@hookimpl
def benchmark_models() -> Mapping[str, str]:
    return {"bm25": "benchmark_bm25:BM25"}


@dataclass
class BM25:
    """PyTerrier's BM25 with Terrier's defaults (Penha 2024, section 5.2), over the whole text of each item.

    `engine` is part of what is measured: pisa stems with Porter 2 and floors the idf of terms in more than half of the
    items at 1e-6, terrier stems with Porter and has its own idf. Both drop Terrier's stop words from queries. A term
    that a query repeats counts as often with pisa; with terrier that saturates (k3 = 8). Only items that share a word
    with the query are returned.

    Both engines index only words of a-z and 0-9, and stem English. Other text is cut by `benchmark.words` (scripts
    without spaces into pairs of characters), and each word is replaced by a code, which is not stemmed. So every
    language can be searched; "bücher" finds "Bücher", but neither "Buch" nor "Bucher" does. A query of
    one Chinese character finds only texts in which it stands alone, as with Lucene's bigrams.

    terrier needs Java 11 or newer and two jars (100 MB) that PyTerrier fetches when it is first used.
    """

    engine: Literal["pisa", "terrier"] = "pisa"
    k1: NonNegative = 1.2
    b: Share = 0.75
    tasks: ClassVar[frozenset[Task]] = frozenset({"search"})
    needs_training: ClassVar[bool] = False
    requires: ClassVar[tuple[str, ...]] = ("pyterrier", "pyterrier_pisa")
    deterministic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.engine == "terrier" and not (shutil.which("java") or os.environ.get("JAVA_HOME")):
            raise BenchmarkError(
                "bm25 with engine 'terrier' needs Java 11 or newer, and there is neither 'java' nor JAVA_HOME. "
                "Install Java, or choose engine 'pisa', which needs none."
            )

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        """Index the texts. Raises BenchmarkError if no item has words, or if Terrier cannot be started."""
        texts = [_plain(text) for text in train.catalog.texts]
        if not any(map(_has_words, texts)):
            raise BenchmarkError("bm25 needs items with texts, and no text of the catalogue has a word.")
        folder = context.workdir / f"bm25-{self.engine}"
        shutil.rmtree(folder, ignore_errors=True)
        documents = ({"docno": str(item), "text": text} for item, text in enumerate(texts))
        index = _pisa if self.engine == "pisa" else _terrier
        with _output_to(context.workdir / "bm25.log"):
            self.search_ = index(documents, folder, self.k1, self.b, context.threads)
        self.n_items_ = len(texts)
        context.record("engine", self.engine)

    def rank(self, requests: Requests, k: int) -> Ranking:
        if not hasattr(self, "search_"):
            raise NotFittedError("bm25 was asked to rank before it was fitted; call fit first.")
        # Requests with the same query share one search.
        plain, number = np.unique(np.array([_plain(query) for query in requests.queries], object), return_inverse=True)
        wanted = np.zeros(len(plain), dtype=np.int64)
        if requests.candidates is None:
            np.maximum.at(wanted, number, np.minimum(k + requests.exclude.lengths, self.n_items_))
        else:
            wanted[:] = self.n_items_
        hits = list(self._find(plain, wanted)) or [_NO_HITS]
        query, item, score = (np.concatenate(part) for part in zip(*hits, strict=True))
        if requests.candidates is None:
            lists = Ragged.from_pairs(query, np.arange(len(query)), len(plain)).take(number)
            row, item, score = lists.rows, item[lists.values], score[lists.values]
        else:
            row, item, score = self._of_candidates(requests.candidates, number, query, item, score)
        return Ranking.best(requests, row, item, score, k)

    def _of_candidates(
        self,
        candidates: Ragged,
        number: NDArray[np.int64],
        query: NDArray[np.int64],
        item: NDArray[np.int64],
        score: NDArray[np.float32],
    ) -> Hits:
        """The candidates of each request that are among its query's results, best first."""
        keys = query * self.n_items_ + item
        order = np.argsort(keys)
        row, item = candidates.rows, candidates.values.astype(np.int64)
        wanted = number[row] * self.n_items_ + item
        position = np.searchsorted(keys[order], wanted)
        hit = np.flatnonzero(position < len(keys))
        hit = hit[keys[order[position[hit]]] == wanted[hit]]
        row, item, score = row[hit], item[hit], score[order[position[hit]]]
        best = np.lexsort((-score, row))
        return row[best], item[best], score[best]

    def _find(self, plain: NDArray[np.object_], wanted: NDArray[np.int64]) -> Iterator[Hits]:
        """The best `wanted` items of every query and all that tie with the last of them, best first per query."""
        rows = np.array([row for row, query in enumerate(plain) if _has_words(query)], dtype=np.int64)
        spare = SPARE
        while len(rows):
            depth = min(self.n_items_, int(wanted[rows].max()) + spare)
            size = max(1, RESULTS_PER_BATCH // depth)
            again = []
            for batch in (rows[start : start + size] for start in range(0, len(rows), size)):
                place, item, score = self._retrieve(plain[batch], depth)
                counts = np.bincount(place, minlength=len(batch))
                first = np.cumsum(counts) - counts
                # If the last result ties with the last one wanted, there may be more such ties below the depth.
                full = np.flatnonzero((counts == depth) & (depth < self.n_items_))
                border = np.full(len(batch), -np.inf, dtype=np.float32)
                border[full] = score[first[full] + wanted[batch][full] - 1]
                cut = np.zeros(len(batch), dtype=bool)
                cut[full] = border[full] == score[first[full] + depth - 1]
                again.append(batch[cut])
                keep = (score >= border[place]) & ~cut[place]
                yield batch[place[keep]], item[keep], score[keep]
            rows = np.concatenate(again)
            spare *= 16

    def _retrieve(self, queries: NDArray[np.object_], depth: int) -> Hits:
        """Up to `depth` results of every query in one call: (row of the query, item, score), best first."""
        import pandas as pd
        import pyarrow as pa

        places = np.arange(len(queries))
        results = self.search_(pd.DataFrame({"qid": places.astype(str), "query": queries, "place": places}), depth)
        place, score = results["place"].to_numpy(np.int64), results["score"].to_numpy(np.float32)
        item = pa.array(results["docno"]).cast(pa.int64()).to_numpy()
        order = np.lexsort((-score, place))
        return place[order], item[order], score[order]


def _pisa(documents: Iterable[Document], folder: Path, k1: float, b: float, threads: int) -> Search:
    from pyterrier_pisa import PisaIndex

    index = PisaIndex(str(folder), text_field="text", stemmer="porter2", threads=threads)
    index.index(documents)
    # query_weighted: otherwise PISA counts a repeated term once. ranked_or scores every posting in one order: pruning
    # algorithms add floats in an order that depends on the number of results, which breaks exact ties.
    retriever = index.bm25(k1=k1, b=b, query_weighted=True, query_algorithm="ranked_or")

    def search(queries: pd.DataFrame, depth: int) -> pd.DataFrame:
        retriever.num_results = depth
        results: pd.DataFrame = retriever.transform(queries)
        return results

    return search


def _terrier(documents: Iterable[Document], folder: Path, k1: float, b: float, threads: int) -> Search:
    import pyterrier as pt

    try:
        if not pt.java.started():
            pt.java.init()
    except (OSError, ValueError, RuntimeError) as error:
        raise BenchmarkError(
            f"bm25 with engine 'terrier' cannot start Terrier: {error}. It needs Java 11 or newer and the jars "
            "terrier-assemblies and terrier-python-helper, which PyTerrier fetches from Maven Central; offline, "
            f"put them into {pt.io.pyterrier_home()}, or choose engine 'pisa', which needs neither."
        ) from error
    index = pt.terrier.TerrierIndex(str(folder))
    index.indexer(meta={"docno": 20}, text_attrs=["text"]).index(documents)

    def search(queries: pd.DataFrame, depth: int) -> pd.DataFrame:
        words = queries["query"].str.replace("[^A-Za-z0-9]+", " ", regex=True)  # : ^ # … are operators of TerrierQL
        retriever = index.bm25(k1=k1, b=b, num_results=depth, threads=threads)
        results: pd.DataFrame = retriever.transform(queries.assign(query=words))
        return results

    return search


def _plain(text: str) -> str:
    """The text in ASCII, which is all that the engines' tokenisers read: words with other letters become codes."""
    if text.isascii():
        return text
    return " ".join(part if part.isascii() else " ".join(map(_spelled, words(part))) for part in text.split())


def _spelled(word: str) -> str:
    """A word cut as an engine would cut it: "amélie's" becomes the code of "amélie", "tv-gerät" "tv" and a code."""
    if word.isascii():
        return word
    parts = re.split("[-']", word.removesuffix("'s"))
    return " ".join(part if part.isascii() else _code(part) for part in parts)


@lru_cache(maxsize=2**16)
def _code(word: str) -> str:
    """A hash of the word as 18 letters and a 0; two words collide with a chance of 1 in 10^20.

    No stemmer changes a word that ends in a digit; Terrier drops words of more than 20 characters, with five digits, or
    with four equal letters in a row.
    """
    number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=16).digest(), "big")
    letters = ""
    for place in range(18):
        number, letter = divmod(number, 13)
        letters += "abcdefghijklmnopqrstuvwxyz"[letter + 13 * (place % 2)]
    return letters + "0"


def _has_words(text: str) -> bool:
    return re.search("[A-Za-z0-9]", text) is not None


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send the output of C++ code to a file: stdout is for results."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
    finally:
        for number, copy in enumerate(saved, start=1):
            os.dup2(copy, number)
            os.close(copy)
