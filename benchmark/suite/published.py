"""The numbers that papers print: shown beside ours, with the table and the data they come from, and never tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from benchmark.data.types import Task
from benchmark.errors import BenchmarkError
from benchmark.strict import Strict
from benchmark.suite.file import SliceName, read_yaml

SIZE_TOLERANCE = 0.05
"""The share by which a count may differ from the paper's, which are printed with two digits."""


@dataclass(frozen=True)
class PublishedValue:
    """A printed number, where it stands, and the data it was measured on."""

    value: float
    source: str


class PublishedTable(Strict):
    """One column of a printed table: `values` maps a row's name to its number.

    `source` says who measured it where that is not the paper itself: a reproduction, shown apart, whose `table` says
    where it stands. `page` is 0 where there are none. `marks` are signs that the table prints after a row's value, as
    {Gen_R+S: ‡}.
    """

    table: str
    page: int
    metric: str
    dataset: str
    task: Task
    slice: SliceName
    data: str
    values: dict[str, float]
    marks: dict[str, str] = Field(default_factory=dict)
    note: str = ""
    source: str = ""

    def compared(self, names: Sequence[str]) -> str:
        """The first row's value with its mark, and beside it the second's, or the highest of the others (the lowest,
        where the first is below them all)."""
        digits = max(len(repr(value).partition(".")[2]) for value in self.values.values())
        printed = {name: f"{self.values[name]:.{digits}f}" for name in names}
        first, *others = names
        text = printed[first] + self.marks.get(first, "")
        if len(others) > 1:
            below = self.values[first] < min(self.values[name] for name in others)
            rival = (min if below else max)(others, key=lambda name: self.values[name])
            return f"{text} vs at {'least' if below else 'most'} {printed[rival]} ({rival})"
        return f"{text} vs {printed[others[0]]}" if others else text


class PublishedSize(Strict):
    """How large a paper's data set was: `table` says where that stands; a count is 0 where it is not printed."""

    table: str
    items: int = 0
    users: int = 0
    queries: int = 0


class Published(Strict):
    """The file under `published/`: a paper, its tables, and the sizes of its data sets by name."""

    paper: str
    tables: list[PublishedTable]
    sizes: dict[str, PublishedSize] = Field(default_factory=dict)

    def size_remark(self, dataset: str, counts: Mapping[str, Any]) -> str:
        """Which `counts` of a data set differ by more than `SIZE_TOLERANCE` from those of the paper; empty for none."""
        size = self.sizes.get(dataset)
        if size is None:
            return ""
        printed = {name: getattr(size, name) for name in ("items", "users", "queries")}
        off = [
            f"{counts.get(name, 0):,} {name} (paper: {n:,})"
            for name, n in printed.items()
            if n and abs(counts.get(name, 0) - n) > SIZE_TOLERANCE * n
        ]
        return f"not the size of {self.paper}, {size.table}: {', '.join(off)}" if off else ""

    def find(self, dataset: str, task: Task, slice_name: str, metric: str, name: str) -> PublishedValue | None:
        """The number that the paper prints for a row, or None where it has none; reproductions are not looked at."""
        for t in self.tables:
            if t.source:
                continue
            if (t.dataset, t.task, t.slice, t.metric) == (dataset, task, slice_name, metric) and name in t.values:
                page = f", page {t.page}" if t.page else ""
                return PublishedValue(t.values[name], f"{self.paper}, {t.table}{page}; measured on {t.data}")
        return None

    def quote(
        self,
        table: str,
        dataset: str | None,
        task: Task,
        slice_name: SliceName,
        metric: str,
        names: Sequence[str],
    ) -> str:
        """A table's name with what it prints for these rows: "Table 5, page 8: 0.119‡ vs 0.103", and for all data sets
        (None) "Table 1: R@10 0.0648 vs 0.0605 on Beauty, 0.0400 vs 0.0350 on Sports".

        Of three rows and more the first stands beside the highest of the others, "0.119 vs at most 0.103 (Gen_R)", or
        beside the lowest where it is below them all. The name alone where this paper has no such table, or not all of
        the rows.
        """
        tables = [
            t
            for t in self.tables
            if (t.table, t.task, t.slice, t.metric) == (table, task, slice_name, metric)
            and (dataset is None or t.dataset == dataset)
            and not t.source
            and all(name in t.values for name in names)
        ]
        if not tables:
            return table
        page = f", page {tables[0].page}" if tables[0].page else ""
        numbers = [t.compared(names) for t in tables]
        if dataset is not None:
            return f"{table}{page}: {numbers[0]}"
        places = ", ".join(f"{text} on {t.dataset}" for text, t in zip(numbers, tables, strict=True))
        return f"{table}{page}: {metric.partition('|')[0]} {places}"


def load_published(path: Path) -> Published:
    """Raises BenchmarkError for a file that is missing or not in the format of `suites/published/`."""
    try:
        return Published.model_validate(read_yaml(path)[0])
    except OSError as error:
        raise BenchmarkError(
            f"the published numbers in '{path}' cannot be read: {error.strerror}. "
            "`published:` is a path relative to the suite's file."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BenchmarkError(
            f"'{path}', {place or 'top level'}: {first['msg']}. Published numbers need {_NEEDS}."
        ) from error


_NEEDS = f"'paper' and 'tables', each with {', '.join(name for name in PublishedTable.model_fields)}"
