"""Joint identifiers: two per item, with shared and specific codes, from semantic and collaborative vectors (Shi 2025,
3.2); and, for comparison, identifiers from one kind of vectors (4.4.1).

Axis letters: N items, S and C the widths of a semantic and a collaborative vector.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError, ContractError
from benchmark_generative.identifiers.codes import ChangedError, Identifiers, read_arrays, seal, write_arrays
from benchmark_generative.identifiers.keeping import cached
from benchmark_generative.identifiers.making import Progress, checked, limited, make, told_apart
from benchmark_generative.identifiers.settings import IdSettings, JointSettings, Kind, Training

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class JointIdentifiers:
    """A `semantic` and a `collaborative` identifier of every item, with the same first `shared` codes.

    Made from one kind of vectors only, both are the same and all codes are shared. `facts` (JSON values) record how
    they were made and, under the two names, the statistics of each. Raises ContractError if shared codes differ.
    """

    semantic: Identifiers
    collaborative: Identifiers
    shared: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        both, shared = (self.semantic, self.collaborative), self.shared
        if not 1 <= shared <= min(len(ids.sizes) for ids in both) or len(both[0]) != len(both[1]):
            raise ContractError(
                f"joint identifiers of {len(both[0])} and {len(both[1])} items with sizes {both[0].sizes} and "
                f"{both[1].sizes} cannot share {shared} levels"
            )
        first, second = ((ids.sizes[:shared], ids.codes[:, :shared]) for ids in both)
        if first[0] != second[0] or not np.array_equal(first[1], second[1]):
            raise ContractError(f"the first {shared} codes of joint identifiers must be the same in both")

    def __len__(self) -> int:
        return len(self.semantic)

    @cached_property
    def digest(self) -> str:
        """sha256 of both identifiers' digests and the number of shared levels, without the facts."""
        return hashlib.sha256(f"{self.shared} {self.semantic.digest} {self.collaborative.digest}".encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write an .npz to a temporary name and rename it, so that it is complete or absent."""
        facts = json.dumps(dict(self.facts), sort_keys=True)
        arrays = {"shared": np.array(self.shared), "facts": np.array(facts), "seal": np.array(seal(self.digest, facts))}
        for name, ids in (("semantic", self.semantic), ("collaborative", self.collaborative)):
            arrays |= {f"{name}_{key}": value for key, value in ids.arrays().items()}
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: str | Path) -> JointIdentifiers:
        """Raises BenchmarkError if the file is missing, incomplete, or was changed after it was saved."""
        return read_arrays(path, cls.of_arrays)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> JointIdentifiers:
        """Raises ChangedError if the arrays are not those that were saved."""
        semantic, collaborative = (
            Identifiers.of_arrays({key[len(name) :]: arrays[key] for key in arrays if key.startswith(name)})
            for name in ("semantic_", "collaborative_")
        )
        facts = str(arrays["facts"])
        identifiers = cls(semantic, collaborative, int(arrays["shared"]), json.loads(facts))
        if str(arrays["seal"]) != seal(identifiers.digest, facts):
            raise ChangedError
        return identifiers


def make_pair(
    semantic: Vectors | None,
    collaborative: Vectors | None,
    settings: JointSettings,
    *,
    seed: int,
    device: str = "cpu",
    threads: int = 1,
    trained_on: NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> JointIdentifiers:
    """Identifiers of the settings' `kind`: joint ones (`make_joint`), or an RQ-VAE's of `semantic` (N, S) or
    `collaborative` (N, C) vectors alone, with as many levels (4.4.1). Only the vectors of this kind are needed.

    With a `folder` they are cached there, made once for all processes with the same settings. Raises BenchmarkError on
    vectors that are missing, all equal or not finite.
    """
    settings = settings.on(device)
    kind = settings.kind
    both = {"semantic": semantic, "collaborative": collaborative}
    needed = {name: _vectors(name, vectors) for name, vectors in both.items() if kind in ("joint", name)}

    def made() -> JointIdentifiers:
        if kind == "joint":
            return make_joint(
                needed["semantic"], needed["collaborative"], settings, seed=seed, device=device, threads=threads,
                trained_on=trained_on, progress=progress,
            )  # fmt: skip
        vectors = needed[kind]
        finite = np.ones(len(vectors), dtype=bool)
        if kind == "collaborative":
            vectors, finite = _filled(vectors, trained_on)
        training = {f.name: getattr(settings, f.name) for f in fields(Training)}
        single = IdSettings(**training, levels=settings.levels, size=settings.size, collisions=settings.collisions)
        identifiers = make(
            vectors, single, seed=seed, device=device, threads=threads, trained_on=trained_on, progress=progress
        )
        return _paired(
            kind, identifiers, identifiers, len(identifiers.sizes), _facts(settings, seed, finite, trained_on)
        )

    if folder is None:
        return made()
    parts = (settings, seed, device.partition(":")[0], threads, trained_on, *needed.values())
    return cached(folder, parts, made, JointIdentifiers.load)


def make_joint(
    semantic: Vectors,
    collaborative: Vectors,
    settings: JointSettings,
    *,
    seed: int,
    device: str = "cpu",
    threads: int = 1,
    trained_on: NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
) -> JointIdentifiers:
    """Identifiers from the semantic (N, S) and collaborative (N, C) vectors of the items; the same seed gives the same.

    A row of `collaborative` with NaN or infinity is an item unknown to the collaborative model: the mean replaces it.
    `trained_on` (N,) says which items the codebooks may learn from (all by default); their codes do not depend on the
    others. Collisions are resolved in each identifier separately, by its last specific code or an extra token, so that
    shared codes stay equal in both. Raises BenchmarkError on vectors that are all equal, or semantic ones that are not
    finite.
    """
    import torch

    from benchmark_generative.identifiers import joint_rqvae

    settings = settings.on(device)
    semantic, collaborative = (
        _vectors(name, v) for name, v in (("semantic", semantic), ("collaborative", collaborative))
    )
    if len(semantic) != len(collaborative):
        raise BenchmarkError(
            f"joint identifiers need both vectors of every item; there are {len(semantic)} semantic and "
            f"{len(collaborative)} collaborative ones."
        )
    semantic, seen = checked(semantic, trained_on)
    collaborative, finite = _filled(collaborative, trained_on)
    sizes = (settings.size,) * settings.levels
    started = time.perf_counter()
    with limited(threads):
        codes_of = joint_rqvae.quantise(
            torch.from_numpy(semantic).to(device),
            torch.from_numpy(collaborative).to(device),
            torch.from_numpy(seen).to(device),
            settings,
            torch.Generator().manual_seed(seed),
            progress,
        )
        took = {"seconds": round(time.perf_counter() - started, 1)}
        both = [
            told_apart(codes, vectors, sizes, settings.collisions, took, seen)
            for codes, vectors in zip(codes_of, (semantic, collaborative), strict=True)
        ]
    return _paired("joint", both[0], both[1], settings.shared, _facts(settings, seed, finite, trained_on))


def _vectors(name: str, vectors: Vectors | None) -> Vectors:
    if vectors is None:
        raise BenchmarkError(f"identifiers of this kind need {name} vectors, and there are none.")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or not vectors.size:
        raise BenchmarkError(f"identifiers need a {name} vector per item; an array of shape {vectors.shape} has none.")
    if len(vectors) > 1 and (vectors == vectors[0]).all():
        raise BenchmarkError(
            f"all items have the same {name} vector, so identifiers can say nothing of them. "
            + (
                "The data set knows no text of any item: give ready vectors as the encoder."
                if name == "semantic"
                else "Ask another model for them."
            )
        )
    return vectors


def _filled(vectors: Vectors, trained_on: NDArray[np.bool_] | None) -> tuple[Vectors, NDArray[np.bool_]]:
    """The vectors with non-finite rows replaced by the mean of the others, and (N,) which rows were finite.

    The mean is over items that are trained on.
    """
    finite = np.asarray(np.isfinite(vectors).all(axis=1))
    if finite.all():
        return vectors, finite
    usable = finite if trained_on is None else finite & trained_on
    if not usable.any():
        raise BenchmarkError("no item has a collaborative vector of finite numbers. Ask another model for them.")
    return np.where(finite[:, None], vectors, vectors[usable].mean(axis=0)), finite


def _facts(
    settings: JointSettings, seed: int, finite: NDArray[np.bool_], trained_on: NDArray[np.bool_] | None
) -> dict[str, Any]:
    facts: dict[str, Any] = {"levels": settings.levels, "size": settings.size, "collisions": settings.collisions}
    facts |= {"seed": seed}
    facts |= {
        "items": len(finite),
        "items_without_collaborative": int((~finite).sum()),
        "precision": settings.precision,
    }
    return facts if trained_on is None else {**facts, "items_trained_on": int(trained_on.sum())}


def _paired(
    kind: Kind, semantic: Identifiers, collaborative: Identifiers, shared: int, facts: Mapping[str, Any]
) -> JointIdentifiers:
    made = JointIdentifiers(semantic, collaborative, shared)
    parts = {kind: semantic} if semantic is collaborative else {"semantic": semantic, "collaborative": collaborative}
    remarks = [f"{remark} ({name})" for name, ids in parts.items() for remark in ids.facts.get("remarks", ())]
    facts_of_both = {
        "kind": kind,
        **facts,
        "shared": shared,
        "steps": semantic.facts["steps"],
        "digest": made.digest,
        "semantic": dict(semantic.facts),
        "collaborative": dict(collaborative.facts),
        **({"remarks": remarks} if remarks else {}),
    }
    return JointIdentifiers(semantic, collaborative, shared, facts_of_both)
