"""Every mistake ends with exit code 2 and a line that names the remedy; the commands say what they should."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Command

SUITE = """\
name: tiny
profile: small
datasets: [{use: checkerboard, name: Board}]
models:
  - {use: popular, name: Pop}
  - {use: faulty, name: Other, seconds: 90}
metrics: [R@5]
depth: 5
profiles:
  small: {}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(SUITE)
    return path


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("use: popular", "use: poplar", "unknown model 'poplar'. Did you mean 'popular'?"),
        ("R@5", "nDGC@5", "unknown metric 'nDGC'. Did you mean 'nDCG'?"),
        ("R@5", "R@ten", "the cut-off 'ten' must be a whole number"),
        ("R@5", "R(relevance=2)@5", "relevance"),
        ("R@5", "R@50", "Set `depth: 50` in the suite"),
        ("depth:", "dept:", "s.yaml:8: unknown key 'dept'. Did you mean 'depth'?"),
        ("small: {}", "smal: {}", "unknown profile 'small'"),
        ("use: popular, name: Pop", "use: popular, name: Pop, params: {source: 3}", "source"),
        ("use: popular, name: Pop", "use: popular, name: Pop, params: {sorce: search}", "Did you mean 'source'?"),
        ("use: faulty, name: Other", "use: faulty, name: Other, params: {seconds: soon}", "seconds"),
        ("use: faulty, name: Other", "use: needy, name: Other", "'module_that_nobody_has', which is not installed"),
        (
            "use: checkerboard",
            "use: search-only",
            "model 'Other' does recommendation, but data set 'Board' has only search",
        ),
        (
            "use: checkerboard, name: Board",
            "use: movielens, name: ML, params: {variant: ml-1m, path: /nowhere}",
            "/nowhere",
        ),
        (
            "use: checkerboard, name: Board",
            "use: files, name: Mine, params: {path: /nowhere}",
            "/nowhere",
        ),
        ("metrics:", "analyses: [dataset-statistic]\nmetrics:", "Did you mean 'dataset-statistics'?"),
        ("metrics:", "published: none.yaml\nmetrics:", "none.yaml"),
        (
            "metrics:",
            "claims: [{where: {dataset: Board, task: search, metric: R@5}, expect: {Pop: t}}]\nmetrics:",
            "'A > B'",
        ),
    ],
)
def test_a_mistake_in_a_suite_is_refused(
    here: Command, suite: Path, tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in SUITE
    suite.write_text(SUITE.replace(old, new))
    done = here("run", suite, "--results", "out", "--tracking", "off")
    assert done.returncode == 2, done.stdout + done.stderr
    errors = done.stderr.splitlines()
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("error: ")
    assert says in errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--profile", "smal"], "Did you mean 'small'?"),
        (["--only", "nothing"], "--dry-run"),
        (["--device", "tpu"], "auto, cpu, cuda"),
        (["--device", "cuda:7"], "--device cpu"),
        (["--limit", "0"], "at least one request"),
        (["--jobs", "0"], "at least one cell"),
        (["--seeds", "0"], "at least one seed"),
        (["--set", "models.Popp.use=x"], "Did you mean 'Pop'?"),
    ],
)
def test_a_mistake_in_an_option_is_refused(command: Command, suite: Path, words: list[str], says: str) -> None:
    done = command("run", suite, "--tracking", "off", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_results_folder_that_cannot_be_written_is_refused(command: Command, suite: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = command("run", suite, "--results", "out", "--tracking", "off")
    assert done.returncode == 2
    assert "--results" in done.stderr


def test_a_full_disk_is_an_error_of_the_user(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmark import cli

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    suite.write_text(SUITE.replace("checkerboard", "movielens").replace("faulty", "bm25"))
    words = ["run", str(suite), "--results", str(tmp_path / "out"), "--tracking", "off", "--executor", "inline"]
    monkeypatch.setattr("benchmark.report.files.write_reports", full)
    assert cli.main(words) == 2
    assert "Free some space" in capsys.readouterr().err
    monkeypatch.setattr("benchmark.results.files.os.fsync", full)
    assert cli.main([*words, "--fresh"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_dry_run_lists_the_cells_and_runs_nothing(command: Command, suite: Path, tmp_path: Path) -> None:
    done = command("run", suite, "--dry-run", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "Board/Pop/seed-0" in done.stdout
    assert "2 of 2 cells to compute, about 1.5 minutes with 1 at a time (1 without an estimate)." in done.stdout
    assert not (tmp_path / "results").exists()


def test_results_of_other_settings_are_recognised_and_not_mixed_in(here: Command, suite: Path) -> None:
    assert here("run", suite, "--tracking", "off").returncode == 0
    done = here("run", suite, "--dry-run", "--set", "depth=55")
    assert "; 2 of them were computed with other code, data or settings, which are kept and not used." in done.stdout
    assert "2 of 2 cells to compute" in done.stdout
    assert "0 of 2 cells to compute" in here("run", suite, "--dry-run").stdout


def test_finished_cells_tell_how_long_the_next_ones_take(here: Command, suite: Path, tmp_path: Path) -> None:
    """The median over all cells of the model on the data set; the suite states 90 seconds for the other one."""
    assert here("run", suite, "--tracking", "off", "--only", "Pop").returncode == 0
    for seed, seconds in enumerate((30.0, 100.0, 40.0)):
        folder = tmp_path / f"results/tiny/cells/Board/Other/seed-{seed}-otherwise"
        folder.mkdir(parents=True)
        (folder / "cell.json").write_text(json.dumps({"costs": {"fit_seconds": seconds - 5, "rank_seconds": 5.0}}))
    (folder.parent / "seed-3-broken").mkdir()
    (folder.parent / "seed-3-broken" / "cell.json").write_text('{"costs": {"fit_seconds": null}}')
    done = here("run", suite, "--dry-run", "--jobs", "1", "--set", "depth=6")
    assert "2 of 2 cells to compute, about 0.7 minutes with 1 at a time" in done.stdout
    assert "without an estimate" not in done.stdout


def test_check_says_what_the_suite_can_resolve(here: Command, suite: Path) -> None:
    done = here("check", suite)
    assert done.returncode == 0, done.stderr
    assert "Smallest difference" in done.stdout
    assert "seeds" in done.stdout


def test_report_rebuilds_everything_from_disk(here: Command, suite: Path, tmp_path: Path) -> None:
    done = here("report", suite)
    assert done.returncode == 2
    assert "benchmark run" in done.stderr
    assert here("run", suite, "--tracking", "off").returncode == 0
    home = tmp_path / "results" / "tiny"
    names = ["leaderboard.json", "leaderboard.md", "leaderboard.csv", "leaderboard.tex", "leaderboard.html"]
    names += ["significance.csv", "claims.json"]
    before = {name: (home / name).read_bytes() for name in names}
    for name in names:
        (home / name).unlink()
    done = here("report", suite, "--tracking", "off")
    assert done.returncode == 0, done.stderr
    assert {name: (home / name).read_bytes() for name in names} == before
    assert "take effect" not in done.stdout + done.stderr
    done = here("report", suite, "--tracking", "off", "--set", "metrics=[R@5, RR@5]")
    assert "RR@5" in done.stdout
    assert "take effect" not in done.stdout + done.stderr


def test_report_names_the_settings_that_need_a_new_run(here: Command, suite: Path) -> None:
    assert here("run", suite, "--tracking", "off").returncode == 0
    suite.write_text(SUITE.replace("name: Pop}", "name: Popular}"))
    done = here("report", suite, "--tracking", "off", "--set", "depth=20", "--set", "seeds=[0, 1]")
    assert done.returncode == 0, done.stderr
    (said,) = [line for line in (done.stdout + done.stderr).splitlines() if "take effect" in line]
    assert said.endswith(
        "`benchmark run`: models.Pop is no longer there; models.Popular is new; depth: 5 -> 20; seeds: [0] -> [0, 1]"
    )


def test_the_leaderboard_has_the_public_schema(here: Command, suite: Path, tmp_path: Path) -> None:
    extra = "compare: [{model: Pop, against: [Other]}]\n"
    suite.write_text(SUITE + extra)
    assert here("run", suite, "--tracking", "off").returncode == 0
    content = json.loads((tmp_path / "results" / "tiny" / "leaderboard.json").read_text())
    rows = "dataset task slice model metric mean sd n low high coverage seeds marks published"
    comparisons = "dataset task slice metric model baseline family difference low high low_bootstrap high_bootstrap n "
    comparisons += "p p_corrected p_permutation p_permutation_corrected significant one_fit resolvable"
    costs = "dataset model seed fit_seconds embeddings_seconds rank_seconds milliseconds_per_request peak_memory_bytes "
    costs += "parameters updates examples"
    assert {"suite", "profile", "rows", "comparisons", "failures", "costs"} <= set(content)
    assert set(content["rows"][0]) == set(rows.split())
    assert set(content["comparisons"][0]) == set(comparisons.split())
    assert set(content["costs"][0]) == set(costs.split())


def test_list_shows_plugins_of_all_kinds(command: Command) -> None:
    done = command("list")
    assert done.returncode == 0, done.stderr
    for word in ("movielens", "popular", "nDCG", "dataset-statistics", "benchmark-faulty", "genrec-benchmark"):
        assert word in done.stdout


def test_suites_lists_and_prints(command: Command) -> None:
    assert "penha2024" in command("suites").stdout
    assert command("suites", "penha2024").stdout == (ROOT / "suites" / "penha2024.yaml").read_text()
    assert "Did you mean 'penha2024'?" in command("suites", "penha2023").stderr


def test_data_says_what_is_missing_and_from_where(here: Command, suite: Path) -> None:
    done = here("data", suite)
    assert done.returncode == 0, done.stderr
    assert "digest: " in done.stdout
    there_is_none = "use: movielens, name: ML, params: {variant: ml-25m}"
    suite.write_text(SUITE.replace("use: checkerboard, name: Board", there_is_none))
    done = here("data", suite)
    assert done.returncode == 1
    assert "grouplens" in done.stdout


def test_ui_without_a_store_says_what_to_do_first(command: Command) -> None:
    done = command("ui")
    assert done.returncode == 2
    assert "benchmark run" in done.stderr


def test_help_loads_no_plugin_and_nothing_heavy() -> None:
    code = (
        "import sys\nfrom benchmark.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'pydantic', 'scipy', 'torch', 'transformers', 'mlflow', 'benchmark_mlflow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
