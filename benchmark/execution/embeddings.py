"""Item embeddings of one model for another: trained once per data set, kept beside it, shared by all cells that ask."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import plugins, results
from benchmark.errors import BenchmarkError
from benchmark.plan import source_versions
from benchmark.plugins import Registry
from benchmark.types import Context, Dataset


def item_embeddings(
    dataset: Dataset, registry: Registry, context: Context, model: str, params: Mapping[str, Any]
) -> NDArray[np.float32]:
    """(N, d) float32, what `model` trained on the data set knows of each item: see `Context.item_embeddings`.

    Two cells that ask at the same time train it once, and a training that was interrupted is taken up. Raises
    BenchmarkError where the model has no `item_embeddings`, or gives something else than a finite vector per item.
    """
    assert context.shared is not None
    offer = registry.offer("model", model)
    params = plugins.check_params(offer, params)
    identity = {
        "data": dataset.digest,
        "model": model,
        "params": params,
        "versions": source_versions(offer),
        "seed": context.seed,
        "threads": context.threads,
        "device": context.device.partition(":")[0],
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    folder = context.shared / f"embeddings-{digest[:16]}"
    with results.locked(folder):
        path = folder / "vectors.npy"
        reused, started = path.is_file(), time.perf_counter()
        if not reused:
            vectors = _train(dataset, plugins.build(offer, params), replace(context, workdir=folder / "work"), model)
            with results.replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, vectors)
            results.remove_folder(folder / "work")
        vectors = np.load(path)
    seconds = time.perf_counter() - started
    context.record("item_embeddings", {"model": model, "dimension": vectors.shape[1], "reused": reused}
                   | ({} if reused else {"seconds": seconds}))  # fmt: skip
    return np.asarray(vectors, dtype=np.float32)


def _train(dataset: Dataset, model: Any, context: Context, name: str) -> NDArray[np.float32]:
    Path(context.workdir).mkdir(parents=True, exist_ok=True)
    inner = replace(context, facts={}, curve=[])  # its facts and its curve are not those of the cell
    model.fit(dataset.train, {task: split for task, split in dataset.valid.items() if task in model.tasks}, inner)
    vectors = np.asarray(model.item_embeddings(), dtype=np.float32)
    n = len(dataset.train.catalog)
    if vectors.ndim != 2 or len(vectors) != n or not np.isfinite(vectors).all():
        raise BenchmarkError(
            f"model '{name}' gave item embeddings of shape {vectors.shape}"
            f"{'' if np.isfinite(vectors).all() else ' with NaN or infinity'}; {n} finite rows are needed."
        )
    return vectors
