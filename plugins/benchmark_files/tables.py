"""Tables in CSV, TSV or Parquet, and the five tables to which every format is converted."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from benchmark import BenchmarkError

TEXT = (".csv", ".tsv", ".dat", ".txt")
ENDINGS = (*TEXT, *(f"{ending}.gz" for ending in TEXT), ".parquet")
DELIMITERS = ("\t", ",", ";", "|")
NEEDED = {
    "items": ("id", "text"),
    "interactions": ("user", "item", "time"),
    "queries": ("id", "text"),
    "relevance": ("query", "item"),
    "searches": ("user", "query", "item", "time"),
}
OPTIONAL = {"interactions": ("split", "rating"), "queries": ("split",), "relevance": ("grade",), "searches": ("split",)}


@dataclass(frozen=True)
class Form:
    """The layout of text files: the separator of the columns (empty: guessed from the first line), and whether the
    first line names them; without `header` they are called 1, 2, 3 …"""

    sep: str = ""
    header: bool = True


@dataclass(frozen=True)
class Table:
    """Rows with the column names of `NEEDED` and `OPTIONAL`, and the file's name for error messages.

    Without `timed` the times are row numbers.
    """

    file: str
    rows: pd.DataFrame
    timed: bool = True


@dataclass(frozen=True)
class Tables:
    """What every format is converted to; None for a table without a file."""

    items: Table | None = None
    interactions: Table | None = None
    queries: Table | None = None
    relevance: Table | None = None
    searches: Table | None = None

    @property
    def present(self) -> list[Table]:
        every = (self.items, self.interactions, self.queries, self.relevance, self.searches)
        return [table for table in every if table]


def read(folder: Path, names: Mapping[str, str], columns: Mapping[str, str], untimed: bool, form: Form) -> Tables:
    """The tables of a folder.

    `untimed` allows interactions without a time, unless there are searches: row numbers take its place.
    """
    check_keys("names", names, list(NEEDED))
    plain = [c for table in NEEDED for c in (*NEEDED[table], *OPTIONAL.get(table, ()))]
    qualified = [f"{table}.{c}" for table in NEEDED for c in (*NEEDED[table], *OPTIONAL.get(table, ()))]
    check_keys("columns", columns, [*dict.fromkeys(plain), *qualified])
    files = {role: find(folder, role, names) for role in NEEDED}
    if not any(files.values()):
        content = ", ".join(sorted(p.name for p in folder.iterdir())[:12]) or "nothing"
        raise BenchmarkError(
            f"{folder} has none of the files {', '.join(NEEDED)} ({', '.join(ENDINGS)}); "
            f"there is {content}. Say what they are called with params: {{names: {{interactions: …}}}}."
        )
    untimed = untimed and not files["searches"]
    return Tables(**{role: load(file, role, columns, untimed, form) for role, file in files.items() if file})


def check_keys(what: str, renamed: Mapping[str, str], known: list[str]) -> None:
    """Raise BenchmarkError if a key of the parameter `what` is none of the `known` ones."""
    for key in renamed:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise BenchmarkError(
                f"data set 'files': {what} has the unknown key '{key}'.{hint} Known: {', '.join(known)}."
            )


def find(folder: Path, role: str, names: Mapping[str, str]) -> Path | None:
    """The file of this role: the one in `names`, or the only one called `role` with a known ending."""
    if role in names:
        return named(folder, role, names[role])
    candidates = [folder / f"{role}{ending}" for ending in ENDINGS if (folder / f"{role}{ending}").is_file()]
    if len(candidates) > 1:
        raise ambiguous(folder, role, candidates)
    return candidates[0] if candidates else None


def named(folder: Path, role: str, name: str) -> Path:
    if (folder / name).exists():
        return folder / name
    close = difflib.get_close_matches(name, [p.name for p in folder.iterdir()], n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise BenchmarkError(f"data set 'files': {role} should be in {folder / name}, which does not exist.{hint}")


def ambiguous(folder: Path, role: str, candidates: list[Path]) -> BenchmarkError:
    return BenchmarkError(
        f"{folder} has several files for {role}: {', '.join(sorted(p.name for p in candidates))}. "
        f"Choose one with params: {{names: {{{role}: …}}}}."
    )


def load(file: Path, role: str, columns: Mapping[str, str], untimed: bool, form: Form) -> Table:
    """One table with the column names of its role; only `items` keeps other columns."""
    rows = frame(file, form, quick=role in ("interactions", "relevance"))
    renamed = {}
    for column in (*NEEDED[role], *OPTIONAL.get(role, ())):
        qualified = columns.get(f"{role}.{column}")
        theirs = qualified or columns.get(column, column)
        if theirs not in rows.columns and not qualified and column in rows.columns:
            theirs = column  # a name for all tables need not be that of each of them
        if theirs in rows.columns:
            renamed[theirs] = column
        elif qualified or (column in NEEDED[role] and not (column == "time" and untimed)):
            raise missing(file.name, column, theirs, list(rows.columns))
    if role == "items":
        rows = rows.drop(columns=[c for c in renamed.values() if c in rows.columns and c not in renamed])
        return Table(file.name, rows.rename(columns=renamed))
    rows = rows[list(renamed)].rename(columns=renamed)
    timed = role != "interactions" or "time" in rows
    if not timed:
        rows["time"] = range(len(rows))
    return Table(file.name, rows, timed)


def frame(file: Path, form: Form, quick: bool = False) -> pd.DataFrame:
    """The rows of one file; all columns of a text file are text."""
    try:
        if file.suffix == ".parquet":
            import pyarrow.parquet as pq

            _check_header(file, pq.read_schema(file).names)
            return pd.read_parquet(file)
        sep = form.sep or ("\t" if ".tsv" in file.suffixes else _delimiter(file))
        # Only what spreadsheets write has quotes; elsewhere a lone quotation mark must not swallow rows.
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if sep in (",", ";") else csv.QUOTE_NONE
        engine: Literal["pyarrow", "c"] = "pyarrow" if quick and sep == "," and form.header else "c"
        source: Path | io.StringIO = file
        if len(sep) > 1:  # pandas splits at several characters in Python: minutes instead of seconds
            source, sep = io.StringIO(_text(file).replace(sep, "\x1f")), "\x1f"
        elif not _is_utf8(file):
            source = io.StringIO(_text(file))
        options: dict[str, Any] = {
            "sep": sep, "dtype": str, "keep_default_na": False, "encoding": "utf-8-sig", "quoting": quoting
        }  # fmt: skip
        if form.header:  # pandas would rename the second of two columns of one name
            _check_header(file, [str(name) for name in pd.read_csv(source, header=None, nrows=1, **options).iloc[0]])
            if isinstance(source, io.StringIO):
                source.seek(0)
        rows: pd.DataFrame = pd.read_csv(source, engine=engine, header=0 if form.header else None, **options)
        return rows if form.header else rows.set_axis([str(i + 1) for i in range(rows.shape[1])], axis=1)
    except (ValueError, OSError, EOFError, zlib.error) as error:  # parser errors of pandas and pyarrow are ValueErrors
        hint = (
            "" if form.sep or file.suffix == ".parquet" else " Give the separator of its columns as params: {sep: …}."
        )
        raise BenchmarkError(
            f"{file} cannot be read as a table: {str(error).strip().splitlines()[0]}.{hint}"
        ) from error


def _check_header(file: Path, names: Sequence[str]) -> None:
    if repeated := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise BenchmarkError(f"{file} has two columns called '{repeated[0]}'. Rename one of them, or take it out.")


def raw(file: Path) -> bytes:
    """The bytes of a file, gzipped or not. Raises BenchmarkError if it is cut off or damaged."""
    content = file.read_bytes()
    try:
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise BenchmarkError(f"{file} is cut off or damaged ({error}). Get it again.") from error


def _is_utf8(file: Path) -> bool:
    """Whether the file is UTF-8, as every .csv and .tsv must be; MovieLens 1M, for example, is Latin-1."""
    if {".csv", ".tsv"} & set(file.suffixes):
        return True
    try:
        raw(file).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _text(file: Path) -> str:
    return raw(file).decode("utf-8-sig" if _is_utf8(file) else "latin-1")


def _delimiter(file: Path) -> str:
    """The separator of the first line: a comma in a .csv that has one, else "::", else the most frequent of tab, comma,
    semicolon and bar."""
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        line = lines.readline().decode("utf-8", errors="replace")
    if ".csv" in file.suffixes and "," in line:
        return ","
    if "::" in line:
        return "::"
    sep = max(DELIMITERS, key=line.count)
    return sep if sep in line else ","


def missing(file: str, column: str, theirs: str, names: list[str]) -> BenchmarkError:
    lowered = {name.lower(): name for name in names}
    close = difflib.get_close_matches(theirs.lower(), lowered, n=1, cutoff=0.4)
    hint = f" Did you mean '{lowered[close[0]]}'?" if close else ""
    remedy = (
        " Without times, and without searches, give ties: file, and the order of the rows is the order in time; the "
        "protocol's `split: random-ratio` needs no order."
        if column == "time"
        else ""
    )
    remedy += " If the first row is not a header, give header: false: the columns are then called 1, 2, 3 …"
    return BenchmarkError(
        f"{file} has no column '{theirs}'.{hint} It has: {', '.join(map(str, names))}. "
        f"Say what it is called with params: {{columns: {{{column}: …}}}}.{remedy}"
    )
