"""A model's item embeddings on disk, in a folder that the cells of a data set share."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.results.checksums import check_files, checksums
from benchmark.results.files import locked, remove_folder, replacing, write_json
from benchmark.results.scratch import WORK

VECTORS, SECONDS = "vectors.npy", "seconds.json"


class EmbeddingsFolder:
    """The embeddings of one training, in the folder `shared` (see `Context.shared`) by a digest of all its inputs."""

    def __init__(self, shared: Path, digest: str) -> None:
        self.path = shared / f"embeddings-{digest[:16]}"
        self.workdir = self.path / WORK

    def locked(self) -> AbstractContextManager[None]:
        """Hold the folder, so that cells that ask at the same time train the model once."""
        return locked(self.path)

    def write(self, vectors: NDArray[np.float32], seconds: float) -> None:
        """Keep the vectors and the seconds that they took; the unfinished training is removed."""
        with replacing(self.path / VECTORS) as temporary, temporary.open("wb") as file:
            np.save(file, vectors)
        write_json(self.path / SECONDS, {"seconds": seconds, "files": checksums(self.path, [VECTORS])})
        remove_folder(self.workdir)

    def read(self) -> tuple[NDArray[np.float32], float] | None:
        """The vectors, and the seconds that they took; None where they are not there, or not what was written."""
        try:
            content = json.loads((self.path / SECONDS).read_text(encoding="utf-8"))
            if isinstance(content, dict):
                check_files(self.path, content["files"], SECONDS, verify=True)
                content = content["seconds"]  # all that an older version wrote
            return np.load(self.path / VECTORS), float(content)
        except (OSError, EOFError, LookupError, TypeError, ValueError, BenchmarkError):
            return None
