"""A vector per item: a text encoder's, from the item's catalogue entry (Rajput 2023, 4.1.3), or one from a file.

Axis letters: N items, D the width of a vector.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError, Catalog
from benchmark_torch.encoder import BUNDLED_SHA256, find_encoder, load_encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FILES = (".npy", ".npz", ".parquet")
CACHE = "BENCHMARK_CACHE"
"""The environment variable that names the folder of cached vectors; by default ~/.cache/genrec-benchmark."""
BATCH = 64

Vectors = NDArray[np.float32]


def item_vectors(
    catalog: Catalog, encoder: str = "", *, device: str = "cpu", cache: str | Path | None = None
) -> Vectors:
    """(N, D) the vectors of the items, in the order of the catalogue.

    `encoder` is the path of a file of vectors (.npy, .npz or .parquet; see `read_vectors`), or a sentence-transformers
    checkpoint, by name or folder, that encodes `template(catalog)`; empty is the bundled all-MiniLM-L6-v2. Raises
    BenchmarkError if the file or the checkpoint cannot be read.
    """
    if encoder.endswith(FILES):
        return read_vectors(Path(encoder).expanduser(), catalog.ids)
    return text_vectors(template(catalog), encoder, device=device, cache=cache)


def template(catalog: Catalog) -> list[str]:
    """A text per item from its title, price, brand and categories, as far as the catalogue has these columns.

    The paper names the four fields, but not how they are joined. Falls back to the item's own text if the catalogue has
    no titles, or none of these fields for the item.
    """
    columns = catalog.attributes
    if "title" not in columns:
        return [str(text) for text in catalog.texts]
    n = len(catalog)
    fields = [columns[c].tolist() if c in columns else [None] * n for c in ("title", "price", "brand", "categories")]
    return [
        ". ".join(
            f"{name}: {words}"
            for name, words in zip(("Title", "Price", "Brand", "Categories"), map(_said, values), strict=True)
            if words
        )
        or str(text)
        for text, *values in zip(catalog.texts, *fields, strict=True)
    ]


def _said(value: Any) -> str:
    """A value as text; empty if missing."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, tuple | list | np.ndarray):
        return ", ".join(filter(None, map(_said, value)))
    return str(value).strip()


def text_vectors(
    texts: Sequence[str], checkpoint: str = "", *, device: str = "cpu", cache: str | Path | None = None
) -> Vectors:
    """(N, D) vectors of length 1 of the texts; equal texts share one.

    They are cached in the folder `cache` (by default $BENCHMARK_CACHE, or ~/.cache/genrec-benchmark) under the sha256
    of the texts, the checkpoint and the version of sentence-transformers; a bundled checkpoint or a folder counts by
    its files, a name on the model hub by the name. Without write access nothing is cached. Raises BenchmarkError if the
    checkpoint cannot be loaded.
    """
    distinct, row = np.unique(np.array(texts, dtype=object), return_inverse=True)
    if not len(distinct):
        raise BenchmarkError("there are no item texts to make vectors of.")
    name = hashlib.sha256(json.dumps([_identity(checkpoint), distinct.tolist()]).encode()).hexdigest()
    kept = Path(cache or os.environ.get(CACHE) or Path.home() / ".cache" / "genrec-benchmark") / f"{name}.npy"
    vectors = _kept(kept, len(distinct))
    if vectors is None:
        vectors = _encode(distinct.tolist(), load_encoder(checkpoint, device))
        _keep(kept, vectors)
    return vectors[row.reshape(-1)]


def _encode(texts: list[str], encoder: SentenceTransformer) -> Vectors:
    vectors = encoder.encode(
        texts, batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
    )
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _kept(path: Path, n: int) -> Vectors | None:
    """The vectors at `path`; None if the file is missing or incomplete."""
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError):
        return None
    good = vectors.ndim == 2 and len(vectors) == n and vectors.dtype == np.float32 and np.isfinite(vectors).all()
    return vectors if good else None


def _keep(path: Path, vectors: Vectors) -> None:
    """Write to a temporary name and rename, so that another process reads all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                np.save(file, vectors)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def read_vectors(path: str | Path, ids: Sequence[str] | NDArray[Any]) -> Vectors:
    """(N, D) the vectors of the items `ids` (N,) from a file that has a row for each of them, in any order.

    An .npz holds `ids` and `vectors`; a .parquet has the columns `id` and `vector`; next to x.npy, x.txt has the item
    id of every row, one per line. Raises BenchmarkError if items are missing or repeated, or numbers are not finite.
    """
    path = Path(path)
    try:
        listed, vectors = _read(path)
    except FileNotFoundError as error:
        raise BenchmarkError(f"there are no item vectors at {error.filename or path}.") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise BenchmarkError(
            f"the item vectors {path} cannot be read: {error}. They come in an .npz with the arrays ids and vectors, "
            "a .parquet with the columns id and vector, or an .npy with the ids in a .txt next to it."
        ) from error
    if vectors.ndim != 2 or len(vectors) != len(listed) or not vectors.size:
        raise BenchmarkError(
            f"{path} has {len(listed)} ids and vectors of shape {vectors.shape}; it needs one row per id."
        )
    row = {item: i for i, item in enumerate(listed)}
    if len(row) < len(listed):
        twice = next(item for i, item in enumerate(listed) if row[item] != i)
        raise BenchmarkError(f"{path} has more than one vector for the item {twice!r}.")
    missing = [str(i) for i in ids if str(i) not in row]
    if missing:
        raise BenchmarkError(
            f"{path} has no vectors for {len(missing)} of {len(ids)} items: {', '.join(missing[:3])} … "
            f"Its ids must be the catalogue's, like {str(ids[0])!r}."
        )
    chosen: Vectors = vectors[[row[str(i)] for i in ids]].astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(chosen).all(axis=1))
    if len(wrong):
        raise BenchmarkError(f"{path}: the vector of the item {str(ids[wrong[0]])!r} holds NaN or infinity.")
    return chosen


def _read(path: Path) -> tuple[list[str], NDArray[Any]]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return [str(i) for i in file["ids"]], file["vectors"]
    if path.suffix == ".parquet":
        import pandas as pd

        table = pd.read_parquet(path, columns=["id", "vector"])
        return [str(i) for i in table["id"]], np.array(table["vector"].tolist(), dtype=np.float32)
    return path.with_suffix(".txt").read_text(encoding="utf-8").splitlines(), np.load(path, allow_pickle=False)


def _identity(checkpoint: str) -> list[str]:
    """Strings that identify a checkpoint's vectors."""
    folder = find_encoder(checkpoint)
    library = f"sentence-transformers {version('sentence-transformers')}"
    if not checkpoint:
        return [library, BUNDLED_SHA256]
    return [library, *digests(folder)] if folder else [library, checkpoint]


def digests(folder: Path) -> list[str]:
    """The name and the sha256 of every file in a folder."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            lines.append(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}")
    return lines
