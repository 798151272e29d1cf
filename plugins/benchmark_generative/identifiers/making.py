"""Identifiers from vectors, by any method: codes, then resolving collisions, then statistics.

Axis letters: N items, D the width of a vector, L levels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError
from benchmark_generative.identifiers.codes import Identifiers
from benchmark_generative.identifiers.collisions import group_numbers, nearest_free, sinkhorn
from benchmark_generative.identifiers.settings import IN_USE, Collisions, IdSettings, reachable

if TYPE_CHECKING:
    import torch

    from benchmark_generative.identifiers.kmeans import Quantised

Progress = Callable[..., None]
"""Called with a step, the most steps, and named numbers, like `Context.progress`."""


def make(
    vectors: NDArray[Any],
    settings: IdSettings,
    *,
    seed: int,
    device: str = "cpu",
    threads: int = 1,
    trained_on: NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
) -> Identifiers:
    """Identifiers of the items with these vectors (N, D); the same seed gives the same.

    `trained_on` (N,) says which items the quantiser may learn from (all by default); the others are coded by the
    trained quantiser, and no code of a trained item depends on them (Rajput 2023, 4.4.1). The extra token is always
    added with `collisions: extra`, 0 where nothing collides; with `sinkhorn` and `nearest` only if some items cannot be
    separated otherwise; never with `random`, whose duplicate rows are redrawn. `facts["remarks"]` says if an
    auto-encoder has not learned. Raises BenchmarkError on vectors that are not finite.
    """
    settings = settings.on(device)
    vectors, seen = checked(vectors, trained_on)
    facts: dict[str, Any] = {"method": settings.method, "levels": settings.levels, "seed": seed}
    if trained_on is not None:
        facts["items_trained_on"] = int(seen.sum())
    if settings.method == "random":
        codes = random_codes(len(vectors), settings.sizes, seed, seen)
        facts |= {"reconstruction_error": None, "prefix_error": _prefix_errors(vectors, codes)}
        return Identifiers.unique(codes, settings.sizes, facts=facts, always=False)
    started = time.perf_counter()
    with limited(threads):
        quantised = _quantise(vectors, seen, settings, seed, device, progress)
    facts["seconds"] = round(time.perf_counter() - started, 1)
    if quantised.steps:
        facts["precision"] = settings.precision
    return told_apart(quantised, vectors, settings.sizes, settings.collisions, facts, seen)


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """torch with this many threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def told_apart(
    quantised: Quantised,
    vectors: NDArray[np.float32],
    sizes: tuple[int, ...],
    collisions: Collisions,
    facts: Mapping[str, Any],
    seen: NDArray[np.bool_],
) -> Identifiers:
    """Unique identifiers from codes that may collide; adds to `facts` the codes' errors on the vectors (N, D), and
    `remarks` if an auto-encoder has not learned."""
    all_facts: dict[str, Any] = {
        **facts,
        "reconstruction_error": None if quantised.error is None else round(quantised.error, 6),
        "prefix_error": _prefix_errors(vectors, quantised.codes),
    }
    if quantised.steps:
        all_facts["steps"] = quantised.steps
        remarks = not_learned(quantised, sizes, int(seen.sum()))
        all_facts |= {"remarks": remarks} if remarks else {}
    if collisions == "extra":
        return Identifiers.unique(quantised.codes, sizes, facts=all_facts, first=seen)
    return _moved(quantised, sizes, nearest_free if collisions == "nearest" else sinkhorn, all_facts, seen)


def not_learned(quantised: Quantised, sizes: tuple[int, ...], n: int) -> list[str]:
    """Signs that an auto-encoder trained on n items has not learned: reconstructions no better than the vectors' mean,
    or less than four fifths of a codebook in use (Rajput 2023, 4.1.3), or of what so few items allow."""
    remarks = []
    if quantised.error is not None and not quantised.error < 1:
        remarks.append(
            "the auto-encoder of the identifiers has not learned: its reconstruction error is "
            f"{quantised.error:.3g} of the vectors' variance, no better than their mean (1)"
        )
    used = [len(np.unique(codes)) / size for codes, size in zip(quantised.codes.T, sizes, strict=True)]
    if any(share < reachable(n, size) for share, size in zip(used, sizes, strict=True)):
        remarks.append(
            "the auto-encoder of the identifiers leaves codes unused: of its codebooks "
            f"{', '.join(f'{100 * share:.0f} %' for share in used)} are in use, and {100 * IN_USE:.0f} % should be"
        )
    return remarks


def checked(
    vectors: NDArray[Any], trained_on: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or not vectors.size:
        raise BenchmarkError(f"identifiers need a vector per item; an array of shape {vectors.shape} has none.")
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise BenchmarkError(f"the vectors of {len(wrong)} items, first in row {wrong[0]}, hold NaN or infinity.")
    seen = np.ones(len(vectors), dtype=bool) if trained_on is None else np.asarray(trained_on)
    if seen.dtype != np.bool_ or seen.shape != (len(vectors),) or not seen.any():
        raise BenchmarkError(
            f"trained_on must be a boolean per item, true for one at least; it is {seen.dtype} of shape {seen.shape}."
        )
    return vectors, seen


def _quantise(
    vectors: NDArray[np.float32],
    seen: NDArray[np.bool_],
    settings: IdSettings,
    seed: int,
    device: str,
    progress: Progress | None,
) -> Quantised:
    import torch

    from benchmark_generative.identifiers import kmeans, rqvae

    points = torch.from_numpy(vectors).to(device)
    learned = torch.from_numpy(seen).to(device)
    generator = torch.Generator().manual_seed(seed)
    if settings.method == "lsh":
        codes, sides, corners = lsh_codes(points, settings.sizes, generator)
        return kmeans.Quantised(codes, residuals=sides, codebook=corners)
    if settings.method == "rkmeans":
        return kmeans.residual_kmeans(points, learned, settings.sizes, generator)
    if settings.method == "hkmeans":
        return kmeans.hierarchical_kmeans(points, learned, settings.sizes, generator)
    return rqvae.quantise(points, learned, settings, generator, progress)


def lsh_codes(
    points: torch.Tensor, sizes: tuple[int, ...], generator: torch.Generator
) -> tuple[NDArray[np.int32], torch.Tensor, torch.Tensor]:
    """SimHash (Rajput 2023, 4.3.2): bit i of a code says on which side of the level's hyperplane i a point (N, D) lies.

    Hyperplanes are standard normal and go through the origin; the vectors are not centred, as in the paper. Residuals
    and codebook of the last level are the points' signed distances to its h hyperplanes (N, h) and the codes' corners
    (2**h, h) of -1 and 1: a near code differs in bits whose planes are near.
    """
    import torch

    codes = []
    for size in sizes:
        planes = torch.randn((size.bit_length() - 1, points.shape[1]), generator=generator).to(points)
        sides = points @ planes.T  # (N, h)
        bits = 2 ** torch.arange(len(planes), device=points.device)
        codes.append(((sides > 0) * bits).sum(dim=1))
    corners = ((torch.arange(sizes[-1], device=points.device)[:, None] & bits) > 0).to(points) * 2 - 1
    return torch.stack(codes, dim=1).to(torch.int32).cpu().numpy(), sides, corners


def random_codes(
    n: int, sizes: tuple[int, ...], seed: int, first: NDArray[np.bool_] | None = None
) -> NDArray[np.int32]:
    """(n, L) codes drawn evenly from 1 … size-1 (Rajput 2023, 4.3.3: K = 255 of a level's 256), all rows different.

    Duplicates of an earlier row are redrawn; rows of `first` count as earlier than all others. Raises BenchmarkError if
    there are fewer than n sequences.
    """
    spans = [size - 1 for size in sizes]
    space = 1
    for span in spans:
        space *= span
    if space < n:
        raise BenchmarkError(
            f"{n:,} items need as many random identifiers, and {len(sizes)} levels of {spans} codes make {space:,}. "
            "Raise `levels` or `size`."
        )
    rng = np.random.default_rng(seed)
    order = np.arange(n) if first is None else np.argsort(~first, kind="stable")
    if space < 2 * n:
        drawn = rng.permutation(space)[:n]
        codes = np.stack(np.unravel_index(drawn, spans), axis=1)
    else:
        codes = rng.integers(0, spans, (n, len(spans)))
        while True:
            again = np.ones(n, dtype=bool)
            again[np.unique(codes, axis=0, return_index=True)[1]] = False
            if not again.any():
                break
            codes[again] = rng.integers(0, spans, (int(again.sum()), len(spans)))
    out = np.empty((n, len(spans)), dtype=np.int32)
    out[order] = codes + 1
    return out


def _moved(
    quantised: Quantised,
    sizes: tuple[int, ...],
    move: Callable[..., NDArray[np.int32]],
    facts: dict[str, Any],
    seen: NDArray[np.bool_],
) -> Identifiers:
    """Give colliding seen items another last code; items that still collide, and unseen ones, get the extra token."""
    import torch

    if quantised.residuals is None or quantised.codebook is None:
        raise BenchmarkError("there is no codebook to choose other codes from; use collisions='extra'.")
    codes = quantised.codes.copy()
    rows = torch.from_numpy(np.flatnonzero(seen)).to(quantised.residuals.device)
    codes[seen] = move(codes[seen], quantised.residuals[rows], quantised.codebook)
    made = Identifiers.unique(codes, sizes, first=seen, always=False)
    before = Identifiers.unique(quantised.codes, sizes, facts=facts, first=seen).facts
    all_facts = {
        **before,
        "items_moved": int((codes != quantised.codes).any(axis=1).sum()),
        "in_collision_after_moving": made.facts["in_collision_before"],
        "collision_rate_after_moving": made.facts["collision_rate_before"],
        "extra_size": made.facts["extra_size"],
    }
    return Identifiers(made.codes, made.sizes, made.learned, all_facts)


def _prefix_errors(vectors: NDArray[np.float32], codes: NDArray[np.int32]) -> list[float]:
    """Per level, the share of the vectors' variance within items of the same prefix: 1 if prefixes carry no
    information.

    It compares all methods, unlike the reconstruction error, which some lack.
    """
    total = float(np.square(vectors - vectors.mean(axis=0)).sum(dtype=np.float64))
    squares = float(np.square(vectors).sum(dtype=np.float64))
    out = []
    for level in range(codes.shape[1]):
        group = group_numbers(codes[:, : level + 1])
        order = np.argsort(group, kind="stable")
        start = np.flatnonzero(np.diff(group[order], prepend=-1))
        sums = np.add.reduceat(vectors[order], start, axis=0, dtype=np.float64)
        explained = float((np.square(sums).sum(axis=1) / np.bincount(group)).sum())
        out.append(round(max(0.0, (squares - explained) / max(total, 1e-30)), 6))
    return out
