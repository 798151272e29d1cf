"""A data set's broken file is refused as the file's fault, with what to do."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_files import files

from benchmark import BenchmarkError, MissingDataError, plugins
from benchmark.checks import print_data
from benchmark.suite.load import load_suite

ROWS = "user,item,time\n" + "".join(f"u{n % 7},i{n % 11},{n}\n" for n in range(2000))


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("interactions.csv", "user,item,time,item\nu,a,1,b\n", "tables"),
        ("interactions.tsv", "user\titem\ttime\titem\nu\ta\t1\tb\n", "tables"),
        ("interactions.dat", "user::item::time::item\nu::a::1::b\n", "tables"),
        ("x.inter", "user_id:token\titem_id:token\ttimestamp:float\titem_id:token\nu\ta\t1\tb\n", "recbole"),
        ("x.inter", "user_id:token\titem_id:token\ttimestamp:float\titem_id:float\nu\ta\t1\tb\n", "recbole"),
    ],
)
def test_two_columns_of_one_name_are_refused(tmp_path: Path, name: str, text: str, format: str) -> None:  # noqa: A002
    (tmp_path / name).write_text(text)
    with pytest.raises(BenchmarkError, match=f"{name} has two columns called 'item(_id:token|_id)?'"):
        files(str(tmp_path), format=format)  # type: ignore[arg-type]


def test_two_columns_of_one_name_are_refused_in_parquet(tmp_path: Path) -> None:
    columns = [pa.array(["u"]), pa.array(["a"]), pa.array([1]), pa.array(["b"])]
    pq.write_table(pa.table(columns, names=["user", "item", "time", "item"]), tmp_path / "interactions.parquet")
    with pytest.raises(BenchmarkError, match="has two columns called 'item'"):
        files(str(tmp_path))


@pytest.mark.parametrize("damage", ["cut", "flip"])
@pytest.mark.parametrize("ending", ["csv", "tsv", "dat"])
def test_a_damaged_gz_is_the_files_fault(tmp_path: Path, ending: str, damage: str) -> None:
    packed = gzip.compress(ROWS.replace(",", "," if ending == "csv" else "\t").encode(), mtime=0)
    middle = len(packed) // 2
    broken = packed[:middle] if damage == "cut" else packed[:middle] + bytes(20) + packed[middle + 20 :]
    (tmp_path / f"interactions.{ending}.gz").write_bytes(broken)
    with pytest.raises(BenchmarkError, match=rf"interactions\.{ending}\.gz (cannot be read|is cut off or damaged)"):
        files(str(tmp_path))


def test_a_damaged_gz_of_a_trec_collection_is_the_files_fault(tmp_path: Path) -> None:
    (tmp_path / "topics.txt").write_text("1\twords\n")
    (tmp_path / "qrels.txt").write_text("1 0 d 1\n")
    (tmp_path / "documents.gz").write_bytes(gzip.compress(b"d\ttext\n")[:-6])
    with pytest.raises(BenchmarkError, match=r"documents\.gz is cut off or damaged .* Get it again"):
        files(str(tmp_path), format="trec")


@pytest.mark.parametrize("time", ["9223372036854775808", "1e19", "99999999999999999999999"])
def test_a_time_that_does_not_fit_is_refused_with_its_row(tmp_path: Path, time: str) -> None:
    (tmp_path / "interactions.csv").write_text(f"user,item,time\nu,a,1\nu,b,{time}\n")
    with pytest.raises(BenchmarkError, match=rf"the time '{time}' in row 2 does not fit into 64 bits \(and 0 more"):
        files(str(tmp_path))


def test_ordinary_files_are_read_as_before(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv.gz").write_bytes(gzip.compress(ROWS.encode()))
    log = files(str(tmp_path))
    assert (len(log.users), len(log.catalog), len(log.user)) == (7, 11, 2000)
    assert isinstance(log.catalog.attributes, pd.DataFrame)


def test_data_fails_where_something_is_missing_and_says_each_remedy_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "name: s\nmodels: [{use: popular}]\nmetrics: [R@1]\ndatasets:\n"
        "  - {use: files, name: A, optional: true, params: {path: /a}}\n"
        "  - {use: files, name: B, optional: true, params: {path: /b}}\n"
    )

    def absent(offer: object, params: dict[str, object]) -> None:
        raise MissingDataError(f"{params['path']} does not exist. Get it from somewhere.")

    monkeypatch.setattr(plugins, "build", absent)
    assert print_data(load_suite(str(path))[0], plugins.load()) == 1
    said = capsys.readouterr().out
    assert "missing: /a does not exist. Get it from somewhere." in said
    assert "missing: /b does not exist. See above." in said
