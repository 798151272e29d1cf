"""What identifiers are: one sequence of codes per item, no two alike, with their facts; saved, loaded and read.

Axis letters: N items, L levels, D the width of a vector.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError, ContractError
from benchmark_generative.identifiers.collisions import group_numbers, number_extra

Codes = NDArray[np.int32]
Kept = TypeVar("Kept")


@dataclass(frozen=True, eq=False)
class Identifiers:
    """`codes` int32 (N, L), code l of an item in 0 … sizes[l]-1; every row occurs once.

    The first `learned` levels describe an item; a level after them is the extra token, which only distinguishes items
    with equal codes and is 0 for the first of them. `facts` (JSON values) record how identifiers were made, and their
    statistics. Raises ContractError on codes out of range and on duplicate rows.
    """

    codes: Codes
    sizes: tuple[int, ...]
    learned: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        codes = self.codes
        if codes.ndim != 2 or codes.dtype != np.int32 or codes.shape[1] != len(self.sizes) or not codes.shape[1]:
            raise ContractError(
                f"identifiers need int32 codes (items, levels) and a size per level; the codes are {codes.dtype} "
                f"{codes.shape}, and the sizes {self.sizes}"
            )
        if not 1 <= self.learned <= len(self.sizes):
            raise ContractError(f"{self.learned} learned levels of {len(self.sizes)}")
        if len(codes) and ((codes < 0).any() or (codes.max(axis=0) >= np.array(self.sizes)).any()):
            raise ContractError(f"there are codes outside 0 … size-1; the sizes are {self.sizes}")
        if len(np.unique(codes, axis=0)) != len(codes):
            raise ContractError("two items have the same codes; Identifiers.unique makes them differ by an extra token")
        codes.setflags(write=False)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def semantic(self) -> Codes:
        """(N, learned): without the extra token, so items may share a row."""
        return self.codes[:, : self.learned]

    @cached_property
    def digest(self) -> str:
        """sha256 of the codes, their sizes and which are learned; not of the facts."""
        head = json.dumps([list(self.codes.shape), list(self.sizes), self.learned])
        return hashlib.sha256(head.encode() + np.ascontiguousarray(self.codes, dtype="<i4").tobytes()).hexdigest()

    @classmethod
    def unique(
        cls,
        codes: NDArray[Any],
        sizes: Sequence[int],
        *,
        facts: Mapping[str, Any] | None = None,
        first: NDArray[np.bool_] | None = None,
        learned: int | None = None,
        always: bool = True,
    ) -> Identifiers:
        """Identifiers from codes (N, L) that may collide: a last level is added that numbers items with equal codes.

        It counts 0, 1, … in the order of the rows, those of `first` (N,) before all others, whose numbers thus do not
        depend on the rest. The protocol shuffles the rows of a catalogue, so their order carries no information. With
        `always` the level is added even if no codes are equal (Rajput 2023, 4.1.3). Statistics of the codes are added
        to `facts`.
        """
        codes = np.ascontiguousarray(codes, dtype=np.int32)
        learned = codes.shape[1] if learned is None else learned
        all_facts = {**(facts or {}), **describe(codes[:, :learned], tuple(sizes)[:learned])}
        extra = number_extra(codes, first)
        added = always or bool(extra.any())
        size = int(extra.max(initial=0)) + 1 if added else 0
        if added:
            codes, sizes = np.concatenate([codes, extra[:, None]], axis=1), (*sizes, size)
        after = describe(codes, tuple(sizes))
        all_facts |= {
            "extra_size": size,
            "collision_rate": after["collision_rate_before"],
            "in_collision": after["in_collision_before"],
        }
        return cls(codes, tuple(int(s) for s in sizes), learned, all_facts)

    def save(self, path: str | Path) -> None:
        """Write an .npz to a temporary name and rename it, so that it is complete or absent."""
        write_arrays(path, self.arrays())

    @classmethod
    def load(cls, path: str | Path) -> Identifiers:
        """Raises BenchmarkError if the file is missing, incomplete, or was changed after it was saved."""
        return read_arrays(path, cls.of_arrays)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of a saved file."""
        facts = json.dumps(dict(self.facts), sort_keys=True)
        return {
            "codes": self.codes,
            "sizes": np.array(self.sizes),
            "learned": np.array(self.learned),
            "facts": np.array(facts),
            "seal": np.array(seal(self.digest, facts)),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Identifiers:
        """Raises ChangedError if the arrays are not those that were saved."""
        facts = str(arrays["facts"])
        sizes = tuple(int(s) for s in arrays["sizes"])
        identifiers = cls(arrays["codes"], sizes, int(arrays["learned"]), json.loads(facts))
        if str(arrays["seal"]) != seal(identifiers.digest, facts):
            raise ChangedError
        return identifiers

    @classmethod
    def read(cls, path: str | Path, ids: Sequence[str] | NDArray[Any], *, learned: int | None = None) -> Identifiers:
        """The codes of a published index, in the order of `ids` (N,), the catalogue's item ids.

        The file is tab-separated, gzipped or not: a line of column names, then a line per item with its id and its
        codes, integers from 0 on, in a column each or in one separated by spaces. `learned` is the number of codes from
        a quantiser (all by default). Items that the catalogue lacks are left out. Items with equal codes get an extra
        token. Raises BenchmarkError if an item is missing or a line is wrong.
        """
        path = Path(path)
        rows, table = _read_table(path)
        wanted = [str(i) for i in ids]
        missing = [i for i in wanted if i not in rows]
        if missing:
            raise BenchmarkError(
                f"{path} has no codes for {len(missing)} of {len(wanted)} items of the catalogue, "
                f"{', '.join(missing[:3])} … Its first column must have the catalogue's item ids, like {wanted[0]!r}."
            )
        if learned is not None and not 1 <= learned <= table.shape[1]:
            raise BenchmarkError(f"{path} has {table.shape[1]} codes per item; {learned} of them cannot be learned.")
        sizes = [int(s) for s in table.max(axis=0) + 1]
        facts = {"method": "read", "file": path.name, "items_left_out": len(rows) - len(set(wanted))}
        codes = table[[rows[i] for i in wanted]]
        return cls.unique(codes, sizes, facts=facts, learned=learned, always=False)


def describe(codes: Codes, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Statistics of codes (N, L) that may collide; lists are per level.

    `perplexity` is e to the entropy (in nats) of a level's codes: how many would be in use if all were used alike.
    """
    n, levels = codes.shape
    counts = [np.bincount(codes[:, level], minlength=sizes[level]) for level in range(levels)]
    prefixes = [group_numbers(codes[:, : level + 1]) for level in range(levels)]
    groups = np.bincount(prefixes[-1])
    return {
        "items": n,
        "sizes": list(sizes),
        "codes_used": [int((c > 0).sum()) for c in counts],
        "use": [round(float((c > 0).mean()), 6) for c in counts],
        "perplexity": [round(_perplexity(c), 4) for c in counts],
        "prefixes": [int(p.max(initial=-1)) + 1 for p in prefixes],
        "largest_group": int(groups.max(initial=0)),
        "collision_rate_before": round(1 - len(groups) / max(n, 1), 6),
        "in_collision_before": round(float(groups[groups > 1].sum()) / max(n, 1), 6),
    }


def _perplexity(counts: NDArray[np.int64]) -> float:
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(np.exp(-(share * np.log(share)).sum()))


class ChangedError(Exception):
    """A file holds other codes or facts than were saved."""


def seal(digest: str, facts: str) -> str:
    """A checksum of a saved file's codes and facts."""
    return hashlib.sha256(f"{digest}\n{facts}".encode()).hexdigest()


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz to a temporary name and rename it, so that it is complete or absent."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_arrays(path: str | Path, of_arrays: Callable[[Mapping[str, NDArray[Any]]], Kept]) -> Kept:
    """The result of `of_arrays` on an .npz. Raises BenchmarkError if it is missing, incomplete, or was changed."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return of_arrays(file)
    except FileNotFoundError:
        raise BenchmarkError(f"there are no identifiers at {path}.") from None
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, ContractError) as error:
        raise BenchmarkError(f"{path} is incomplete ({error}). Delete it and make the identifiers again.") from error
    except ChangedError:
        raise BenchmarkError(
            f"{path} was changed after it was saved. Delete it and make the identifiers again."
        ) from None


def _read_table(path: Path) -> tuple[dict[str, int], Codes]:
    """The row of every item, and codes (rows, L)."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"the identifiers {path} cannot be read: {error}") from error
    rows: dict[str, int] = {}
    table: list[list[int]] = []
    for number, line in enumerate(text.splitlines()[1:], start=2):
        item, *words = line.split("\t")
        codes = " ".join(words).split()
        if not all(c.isascii() and c.isdigit() for c in codes) or not codes:
            raise BenchmarkError(f"{path}, line {number}: not an item id, a tab and codes from 0 on: {line!r}.")
        if table and len(codes) != len(table[0]):
            raise BenchmarkError(f"{path}, line {number}: {len(codes)} codes, but {len(table[0])} in the lines before.")
        if max(map(len, codes)) > 9:
            raise BenchmarkError(f"{path}, line {number}: the code {max(codes, key=len)} is too large.")
        if item in rows:
            raise BenchmarkError(
                f"{path}, line {number}: the item {item!r} has codes in line {rows[item] + 2} already."
            )
        rows[item] = len(table)
        table.append([int(c) for c in codes])
    if not table:
        raise BenchmarkError(f"{path} has no items: a line of column names and a line per item belong there.")
    return rows, np.array(table, dtype=np.int32)
