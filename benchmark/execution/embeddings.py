"""Item embeddings of one model for another: trained once per data set, kept beside it, shared by all cells that ask."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import fingerprint, plugins
from benchmark.contract import Context
from benchmark.data.types import Dataset
from benchmark.errors import BenchmarkError
from benchmark.isolation import contained, frozen
from benchmark.plugins import Registry
from benchmark.results.embeddings import EmbeddingsFolder


@dataclass
class Embeddings:
    """`Context.item_embeddings` as a cell answers it.

    `seconds` is what training the other models took, whichever cell it was that trained them (None: none was asked
    for); `waited` what this cell spent on getting their vectors. Neither belongs to the model that asks.
    """

    dataset: Dataset
    registry: Registry
    context: Context
    seconds: float | None = None
    waited: float = 0.0

    def __call__(self, model: str, params: Mapping[str, Any]) -> NDArray[np.float32]:
        started = time.perf_counter()
        try:
            vectors, seconds = item_embeddings(self.dataset, self.registry, self.context, model, params)
        finally:
            self.waited += time.perf_counter() - started
        self.seconds = (self.seconds or 0) + seconds
        return vectors


def item_embeddings(
    dataset: Dataset, registry: Registry, context: Context, model: str, params: Mapping[str, Any]
) -> tuple[NDArray[np.float32], float]:
    """(N, d) float32, what `model` trained on the data set knows of each item: see `Context.item_embeddings`. Beside it
    the seconds that its training took.

    Two cells that ask at the same time train it once, a training that was interrupted is taken up, and vectors that are
    not what was written are made again. Raises BenchmarkError where the model has no `item_embeddings`, or gives
    something else than a finite vector per item.
    """
    assert context.shared is not None
    offer = registry.offer("model", model)
    params = plugins.check_params(offer, params)
    identity = {
        "data": dataset.digest,
        "model": model,
        "params": params,
        "versions": fingerprint.versions(offer),
        "seed": context.seed,
        "threads": context.threads,
        "device": context.device.partition(":")[0],
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    folder = EmbeddingsFolder(context.shared, digest)
    with folder.locked():
        kept, started = folder.read(), time.perf_counter()
        if reused := kept is not None:
            vectors, seconds = kept
        else:
            vectors = _train(dataset, plugins.build(offer, params), replace(context, workdir=folder.workdir), model)
            seconds = time.perf_counter() - started
            folder.write(vectors, seconds)
    fact = {"model": model, "dimension": vectors.shape[1], "reused": reused, "seconds": seconds}
    context.record("item_embeddings", fact)
    return np.asarray(vectors, dtype=np.float32), seconds


def _train(dataset: Dataset, model: Any, context: Context, name: str) -> NDArray[np.float32]:
    Path(context.workdir).mkdir(parents=True, exist_ok=True)
    inner = replace(context, facts={}, curve=[])  # its facts and its curve are not those of the cell
    valid = {task: split for task, split in dataset.valid.items() if task in model.tasks}
    with contained():
        model.fit(frozen(dataset.train), frozen(valid), inner)
        vectors = np.asarray(model.item_embeddings(), dtype=np.float32)
    n = len(dataset.train.catalog)
    if vectors.ndim != 2 or len(vectors) != n or not np.isfinite(vectors).all():
        raise BenchmarkError(
            f"model '{name}' gave item embeddings of shape {vectors.shape}"
            f"{'' if np.isfinite(vectors).all() else ' with NaN or infinity'}; {n} finite rows are needed."
        )
    return vectors
