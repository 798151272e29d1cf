"""What a disk, a kill or a hand does to the files of the results is noticed, named, and mended by the next run."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmark import plugins
from benchmark.cli import main
from benchmark.contract import Cell, Context
from benchmark.execution import embeddings
from benchmark.results.cells import CellFolder, CellRecord, Spec
from benchmark.results.checksums import _hashed
from benchmark.results.datasets import load_dataset, save_dataset
from benchmark.results.files import DamagedError, locked, remove_folder
from benchmark.results.run import read_run
from benchmark.results.scratch import shared_folder
from benchmark.testing import checkerboard

SUITE = """
name: kept
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: popular, name: Pop}
  - {use: faulty, name: Good, params: {worst: true}}
metrics: [R@5, R@5|uni4]
protocol: {candidates: {recommendation: {kind: uniform, n: 4}}}
depth: 5
analyses: [variants]
"""
OPTIONS = ("--results", "out", "--tracking", "off")


@pytest.fixture(scope="module")
def faulty() -> Iterator[None]:
    """The plugin of tests/faulty is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "faulty"))
        yield
        sys.modules.pop("benchmark_faulty", None)


@pytest.fixture(scope="module")
def finished(faulty: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite that has run, of which every test takes a copy."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("s.yaml").write_text(SUITE)
        assert main(["run", "s.yaml", *OPTIONS, "--executor", "inline"]) == 0
    return folder


@dataclass(frozen=True)
class Place:
    """The copy of the finished run that a test damages."""

    capture: pytest.CaptureFixture[str]
    home: Path

    @property
    def good(self) -> Path:
        """The folder of the cell of the model Good."""
        (folder,) = (self.home / "cells" / "Board" / "Good").iterdir()
        return folder

    @property
    def data(self) -> Path:
        (folder,) = (self.home / "datasets").iterdir()
        return folder

    def report(self, *words: str) -> tuple[int, str]:
        """The exit code and all that was printed."""
        return self._call("report", *words)

    def run(self, *words: str) -> tuple[int, str]:
        return self._call("run", "--executor", "inline", *words)

    def _call(self, command: str, *words: str) -> tuple[int, str]:
        self.capture.readouterr()
        code = main([command, "s.yaml", *OPTIONS, *words])
        printed = self.capture.readouterr()
        return code, " ".join((printed.out + printed.err).split())

    def failures(self) -> dict[str, str]:
        written = json.loads((self.home / "leaderboard.json").read_text())
        return {failure["model"]: failure["error"] for failure in written["failures"]}

    def tables(self) -> dict[str, bytes]:
        return {name: (self.home / name).read_bytes() for name in ("leaderboard.csv", "significance.csv")}


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return Place(capsys, tmp_path / "copy" / "out" / "kept")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    """Change one bit in the middle; the size stays, and so does the time."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


SIZE, SUM = "is damaged: its size is not what {} says", "is damaged: its sha256 is not what {} says"
LOST = "is missing"


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("ranking-recommendation.parquet", truncate, SIZE),
        ("ranking-recommendation.parquet", flip, SUM),
        ("ranking-recommendation@uni4.parquet", Path.unlink, LOST),
        ("ranking-recommendation@worst%2Ffirst.parquet", flip, SUM),
        ("facts.json", flip, SUM),
        ("curve.csv", Path.unlink, LOST),
    ],
)
def test_a_damaged_file_fails_its_cell_alone_and_the_next_run_computes_it_again(
    place: Place, name: str, damage: Callable[[Path], None], reason: str
) -> None:
    before = place.tables()
    damage(place.good / name)
    said = f"{name} {reason.format('cell.json')}"
    assert place.report()[0] == 1
    assert place.failures() == {"Good": f"{said}; run again"}
    code, printed = place.run()
    assert code == 0
    assert f"Board/Good/seed-0: {said}; it is computed again" in printed
    assert "1 cells computed, 1 reused, 0 failed" in printed
    assert place.tables() == before
    assert place.report()[0] == 0


def test_a_broken_cell_json_fails_its_cell_and_the_next_run_mends_it(place: Place) -> None:
    for text, reason in (
        ("[]", "Input should be a valid dictionary"),
        ("{}", "fingerprint: Field required"),
        ("[" * 100_000, "maximum recursion depth"),
        ("\x00", "Expecting value"),
        ('{"finger', "Unterminated string"),
    ):
        (place.good / "cell.json").write_text(text)
        assert place.report()[0] == 1
        assert place.failures()["Good"].startswith(f"cell.json is damaged: {reason}")
    assert "1 cells computed, 1 reused, 0 failed" in place.run()[1]
    assert place.report()[0] == 0


def test_any_part_of_cell_json_that_is_changed_is_noticed(place: Place) -> None:
    path = place.good / "cell.json"
    (cell,) = (cell for cell in read_run(place.home).cells if cell.model == "Good")
    content = json.loads(path.read_text())
    unsealed = {name: part for name, part in content.items() if name != "sha256"}  # as an older version wrote it
    for part in ("costs", "curve", "candidates", "variants", "machine", "files", "fingerprint"):
        path.write_text(json.dumps({**content, part: 7}))
        with pytest.raises(DamagedError, match="is damaged: its sha256 is not what it says"):
            CellFolder(place.good).read(cell)
        path.write_text(json.dumps({**unsealed, part: 7}))
        with pytest.raises(DamagedError, match=f"cell.json is damaged: {part}"):
            CellFolder(place.good).read(cell)


def test_a_cell_that_lost_its_cell_json_is_named(place: Place) -> None:
    (place.good / "cell.json").unlink()
    (place.good / "failure.json").write_text("[]")  # a broken one says nothing
    code, printed = place.report()
    assert code == 1
    assert place.failures() == {"Good": "unfinished: interrupted, or its cell.json is lost; run again"}
    assert "unfinished: interrupted" in printed
    with locked(place.good):  # another process computes it
        assert place.report()[0] == 0
    assert "1 cells computed, 1 reused, 0 failed" in place.run()[1]
    assert place.report()[0] == 0


def test_a_cell_that_was_never_begun_is_silent_and_one_that_was_killed_is_not(place: Place) -> None:
    shutil.rmtree(place.home)
    assert place.run("--only", "Pop")[0] == 0
    assert place.report()[0] == 0
    place.home.joinpath("cells", "Board", "Good").mkdir()
    assert place.run("--only", "Good")[0] == 0
    CellFolder(place.good).forget()
    cell = next(cell for cell in read_run(place.home).cells if cell.model == "Good")
    CellFolder(place.good).write_spec(Spec(cell, place.data, 5, 1, "cpu"))  # it waits for its turn
    assert place.report()[0] == 0
    CellFolder(place.good).begin()  # it was killed while the model was fitted
    assert place.report()[0] == 1
    assert place.failures()["Good"].startswith("unfinished")


def test_a_large_file_is_known_by_size_and_time_and_verified_on_request(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.results.checksums.LARGE", 100)
    name = "ranking-recommendation@worst%2Ffirst.parquet"
    noted = json.loads((place.good / "cell.json").read_text())["files"][name]["modified"]
    flip(place.good / name)
    os.utime(place.good / name, ns=(noted, noted))
    assert place.report()[0] == 0
    assert place.run("--dry-run")[1].endswith("0 of 2 cells to compute.")
    assert "1 of 2 cells to compute" in place.run("--dry-run", "--verify")[1]
    assert place.report("--verify")[0] == 1
    assert "its sha256 is not what cell.json says" in place.failures()["Good"]
    assert "1 cells computed, 1 reused, 0 failed" in place.run("--verify")[1]
    assert place.report("--verify")[0] == 0
    flip(place.good / name)
    os.utime(place.good / name)  # another time: it is hashed
    assert place.report()[0] == 1


def test_a_folder_copied_without_its_times_goes_on_working(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.results.checksums.LARGE", 100)
    before = place.tables()
    for path in place.home.rglob("*"):
        os.utime(path)
    assert place.report("--verify")[0] == 0
    assert "0 cells computed, 2 reused, 0 failed" in place.run()[1]
    assert place.tables() == before


def test_no_file_is_hashed_twice(place: Place) -> None:
    before = _hashed.cache_info()
    place.report()
    first = _hashed.cache_info()
    place.report()
    second = _hashed.cache_info()
    assert first.misses > before.misses
    assert second.misses == first.misses
    assert second.hits > first.hits


def of_an_older_version(path: Path) -> None:
    """Take out what only this version writes."""
    content = json.loads(path.read_text())
    for key in ("files", "sha256"):
        del content[key]
    if "layout" in content:
        content["layout"] = 2
    path.write_text(json.dumps(content))


def test_what_an_older_version_left_is_read_and_what_is_cut_off_is_mended(place: Place) -> None:
    before = place.tables()
    for path in [*place.home.rglob("cell.json"), place.data / "dataset.json"]:
        of_an_older_version(path)
    assert place.report()[0] == 0
    assert place.tables() == before
    truncate(place.good / "ranking-recommendation.parquet")
    assert place.report()[0] == 1
    assert "ranking-recommendation.parquet cannot be read" in place.failures()["Good"]
    assert "1 cells computed, 1 reused, 0 failed" in place.run()[1]
    assert place.tables() == before
    assert "files" in json.loads((place.data / "dataset.json").read_text())  # and has sums now


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("items.parquet", truncate, SIZE),
        ("attributes.parquet", flip, SUM),
        ("train-histories.parquet", Path.unlink, LOST),
        ("test-recommendation.parquet", flip, SUM),
        ("answers/recommendation.parquet", flip, SUM),
        ("candidates-recommendation-uni4.parquet", flip, SUM),
        ("candidates-recommendation-uni4.parquet", Path.unlink, LOST),
    ],
)
def test_a_damaged_data_set_is_refused_by_a_report_and_written_anew_by_a_run(
    place: Place, name: str, damage: Callable[[Path], None], reason: str
) -> None:
    before = place.tables()
    damage(place.data / name)
    said = f"{name} {reason.format('dataset.json')}"
    code, printed = place.report()
    assert code == 2
    assert (
        f"error: the data set in {place.data.relative_to(Path.cwd())} cannot be used: {said}. `benchmark run`"
        in printed
    )
    code, printed = place.run()
    assert code == 0
    assert f"data set Board: {said}; it is written anew" in printed
    assert "0 cells computed, 2 reused" in printed
    assert place.report()[0] == 0
    assert place.tables() == before


def test_a_broken_dataset_json_is_refused_by_a_report_and_written_anew_by_a_run(place: Place) -> None:
    for text in ("{}", "[]", '{"layout": 3, "test": 7}', '{"layout": []}', '{"layout'):
        (place.data / "dataset.json").write_text(text)
        code, printed = place.report()
        assert code == 2
        assert "dataset.json is damaged" in printed
    assert "dataset.json is damaged: Unterminated string" in place.run()[1]
    assert place.report()[0] == 0


def test_a_data_file_replaced_by_another_whole_one_is_noticed(place: Place) -> None:
    before = place.tables()
    requests = place.data / "answers" / "recommendation.parquet"
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(requests)
    best = CellFolder(place.good).load_ranking("recommendation").items[:, :1].tolist()
    changed = table.set_column(
        table.column_names.index("relevant"), "relevant", pa.array(best, pa.large_list(pa.int32()))
    )
    pq.write_table(changed, requests)  # every request is answered by what Good ranks first
    assert place.report()[0] == 2
    assert place.tables() == before
    assert place.run()[0] == 0
    assert place.tables() == before


def test_a_joint_log_that_nobody_wrote_is_not_read(tmp_path: Path) -> None:
    data = checkerboard()
    save_dataset(tmp_path, data)
    assert load_dataset(tmp_path).train.events is None
    shutil.copy(tmp_path / "items.parquet", tmp_path / "train-events.parquet")
    assert load_dataset(tmp_path).train.events is None


BROKEN = ("", "{", "[1, 2]", '"text"', "null", "\ud800")
SHAPES = {
    "suite.yaml": ('{"datasets": 7}', "{}", "a: &a [1]\nb: *c"),
    "plan.json": ('{"cells": "x"}', '{"cells": [{}]}', "[" * 100_000),
    "environment.json": (),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_a_run_left_of_itself_is_refused_where_it_is_damaged_and_written_anew(place: Place, name: str) -> None:
    whole = (place.home / name).read_bytes()
    for text in (*BROKEN, *SHAPES[name]):
        (place.home / name).write_bytes(text.encode(errors="surrogatepass"))
        code, printed = place.report()
        assert code == 2
        assert f"error: out/kept/{name} is missing, damaged or of another version (" in printed
        assert "`benchmark run` with the same suite writes it anew" in printed
    (place.home / name).unlink()
    code, printed = place.report()
    assert code == 2
    assert "benchmark run" in printed
    assert "0 cells computed, 2 reused" in place.run()[1]
    assert place.report()[0] == 0
    if name != "environment.json":
        assert (place.home / name).read_bytes() == whole


@pytest.mark.parametrize(
    ("damage", "name"),
    [(truncate, "vectors.npy"), (flip, "vectors.npy"), (Path.unlink, "vectors.npy"), (truncate, "seconds.json")],
)
def test_damaged_item_embeddings_are_trained_again(
    faulty: None, tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    registry, data = plugins.load(), checkerboard()

    def vectors() -> tuple[np.ndarray, bool]:
        context = Context(seed=0, device="cpu", workdir=tmp_path / "work", shared=tmp_path / "shared")
        values, _ = embeddings.item_embeddings(data, registry, context, "lender", {})
        return values, context.facts["item_embeddings"]["reused"]

    first, _ = vectors()
    assert vectors()[1] is True
    (path,) = (tmp_path / "shared").glob(f"*/{name}")
    damage(path)
    again, reused = vectors()
    assert reused is False
    assert np.array_equal(first, again)
    assert vectors()[1] is True
    clock = path.with_name("seconds.json")
    clock.write_text(json.dumps(json.loads(clock.read_text())["seconds"]))  # all that an older version noted
    assert vectors()[1] is True


def test_what_is_made_again_takes_the_place_of_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    data = tmp_path / "out" / "data"
    for text in ("damaged", "made again"):
        with shared_folder(data) as shared:
            (shared / "vectors.npy").write_text(text)
    remove_folder(tmp_path / "scratch")
    with shared_folder(data) as shared:
        assert (shared / "vectors.npy").read_text() == "made again"


def test_a_damaged_cell_that_another_process_computes_is_left_to_it(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path)
    cell = Cell("Board", "Old", 1, (), "f" * 64, "d", "checkerboard", {}, "old", {}, {})
    (tmp_path / "cell.json").write_text("{")
    with folder.locked():
        folder.reopen(cell)
    assert (tmp_path / "cell.json").exists()
    folder.reopen(cell)
    assert not (tmp_path / "cell.json").exists()
    folder.finish(cell, CellRecord())
    folder.reopen(cell)
    assert folder.read(cell) is not None
