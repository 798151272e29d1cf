"""The numbers that papers print: shown beside ours, with the table and the data they come from, and never tested."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from benchmark.errors import BenchmarkError
from benchmark.suite import Part, SliceName
from benchmark.types import Task


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


class Published(Part):
    """The file under `published/`: a paper and its tables."""

    paper: str
    tables: list[PublishedTable]

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
    import yaml

    try:
        return Published.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BenchmarkError(
            f"the published numbers in '{path}' cannot be read: {error.strerror}. "
            "`published:` is a path relative to the suite's file."
        ) from error
    except yaml.YAMLError as error:
        raise BenchmarkError(f"'{path}' is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BenchmarkError(
            f"'{path}', {place or 'top level'}: {first['msg']}. Published numbers need {_NEEDS}."
        ) from error


_NEEDS = f"'paper' and 'tables', each with {', '.join(name for name in PublishedTable.model_fields)}"
