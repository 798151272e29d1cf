"""The numbers that papers print: shown beside ours, with the table and the data they come from, and never tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from benchmark.errors import BenchmarkError
from benchmark.suite import Part, SliceName
from benchmark.suite_file import read_yaml
from benchmark.types import Task

SIZE_TOLERANCE = 0.05
"""The share by which a count may differ from the paper's, which are printed with two digits."""


@dataclass(frozen=True)
class PublishedValue:
    """A printed number, where it stands, and the data it was measured on."""

    value: float
    source: str


class PublishedTable(Part):
    """One column of a printed table: `values` maps a row's name to its number.

    `source` says who measured it where that is not the paper itself: a reproduction, shown apart, whose `table` says
    where it stands. `page` is 0 where there are none.
    """

    table: str
    page: int
    metric: str
    dataset: str
    task: Task
    slice: SliceName
    data: str
    values: dict[str, float]
    note: str = ""
    source: str = ""


class PublishedSize(Part):
    """How large a paper's data set was: `table` says where that stands; a count is 0 where it is not printed."""

    table: str
    items: int = 0
    users: int = 0
    queries: int = 0


class Published(Part):
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
