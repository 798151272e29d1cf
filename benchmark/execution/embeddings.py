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
from benchmark.data.frozen import frozen
from benchmark.data.types import Dataset
from benchmark.errors import BenchmarkError
from benchmark.plugins import Registry
from benchmark.results.checksums import check_files, checksums
from benchmark.results.files import locked, remove_folder, replacing, write_json


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
    folder = context.shared / f"embeddings-{digest[:16]}"
    with locked(folder):
        kept, started = _read(folder), time.perf_counter()
        if reused := kept is not None:
            vectors, seconds = kept
        else:
            vectors = _train(dataset, plugins.build(offer, params), replace(context, workdir=folder / "work"), model)
            seconds = time.perf_counter() - started
            _write(folder, vectors, seconds)
            remove_folder(folder / "work")
    fact = {"model": model, "dimension": vectors.shape[1], "reused": reused, "seconds": seconds}
    context.record("item_embeddings", fact)
    return np.asarray(vectors, dtype=np.float32), seconds


VECTORS, SECONDS = "vectors.npy", "seconds.json"


def _write(folder: Path, vectors: NDArray[np.float32], seconds: float) -> None:
    with replacing(folder / VECTORS) as temporary, temporary.open("wb") as file:
        np.save(file, vectors)
    write_json(folder / SECONDS, {"seconds": seconds, "files": checksums(folder, [VECTORS])})


def _read(folder: Path) -> tuple[NDArray[np.float32], float] | None:
    """The vectors, and the seconds that they took; None where they are not there, or not what was written."""
    try:
        noted = json.loads((folder / SECONDS).read_text(encoding="utf-8"))
        if isinstance(noted, dict):
            check_files(folder, noted["files"], SECONDS, verify=True)
            noted = noted["seconds"]  # all that an older version noted
        return np.load(folder / VECTORS), float(noted)
    except (OSError, EOFError, LookupError, TypeError, ValueError, BenchmarkError):
        return None


def _train(dataset: Dataset, model: Any, context: Context, name: str) -> NDArray[np.float32]:
    Path(context.workdir).mkdir(parents=True, exist_ok=True)
    inner = replace(context, facts={}, curve=[])  # its facts and its curve are not those of the cell
    valid = {task: split for task, split in dataset.valid.items() if task in model.tasks}
    with plugins.contained():
        model.fit(frozen(dataset.train), frozen(valid), inner)
        vectors = np.asarray(model.item_embeddings(), dtype=np.float32)
    n = len(dataset.train.catalog)
    if vectors.ndim != 2 or len(vectors) != n or not np.isfinite(vectors).all():
        raise BenchmarkError(
            f"model '{name}' gave item embeddings of shape {vectors.shape}"
            f"{'' if np.isfinite(vectors).all() else ' with NaN or infinity'}; {n} finite rows are needed."
        )
    return vectors
