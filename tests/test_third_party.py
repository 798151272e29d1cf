"""A stranger's package, installed by pip from tests/third_party: it has exactly the rights of a built-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ACME = Path(__file__).parent / "third_party" / "benchmark-acme"
SUITE = """
name: acme
datasets:
  - {use: acme-circle, name: Circle, params: {n_users: 90}}
models:
  - {use: popular, name: Pop}
  - {use: acme-repeat, name: Repeat}
metrics: [R@1, Missed@1, "Novelty(base=10)@5"]
compare: [{model: Repeat, against: [Pop]}]
claims:
  - where: {dataset: Circle, task: recommendation, metric: Missed@1}
    expect: {Repeat > Pop: Repeat misses less.}
"""
DIARY = """
name: diary
datasets: [{use: acme-diary, name: Diary, params: {path: walk.diary}}]
models:
  - {use: popular, name: Pop}
  - {use: acme-repeat, name: Repeat}
metrics: [Missed@1]
analyses: [acme-first-places]
compare: [{model: Repeat, against: [Pop]}]
"""
METRICS = ("R@1", "Missed@1", "Novelty(base=10)@5")
CONTRACT = """
from benchmark.plugins import build, load, resolve
from benchmark.testing import check_dataset, check_metric, check_model
acme = load()
print(check_model(lambda: build(acme.models["acme-repeat"], {})))
print(check_dataset(resolve(acme.datasets["acme-circle"]), {"direction": "down"}).tasks)
print(check_dataset(resolve(acme.datasets["acme-diary"]), {"path": "walk.diary"}).tasks)
check_metric(resolve(acme.metrics["Novelty"]), high=None)
check_metric(resolve(acme.metrics["Missed"]))
"""
LISTING = """
from benchmark.plugins import load
registry = load()
for table in (registry.datasets, registry.models, registry.metrics):
    print(*[f"{offer}, {offer.plugin}" for offer in table.values() if offer.plugin.word == "acme"])
print(*next(plugin.hooks for plugin in registry.plugins if plugin.word == "acme"))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables under which the package is installed."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", site, ACME], check=True, timeout=120)
    path = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def python(code: str, environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed_with_distribution_and_version(environment: dict[str, str], tmp_path: Path) -> None:
    assert python(LISTING, environment, tmp_path).splitlines() == [
        "data set 'acme-circle', plugin 'acme' (benchmark-acme 2.5) "
        "data set 'acme-diary', plugin 'acme' (benchmark-acme 2.5)",
        "model 'acme-repeat', plugin 'acme' (benchmark-acme 2.5)",
        "metric 'Novelty', plugin 'acme' (benchmark-acme 2.5) metric 'Missed', plugin 'acme' (benchmark-acme 2.5)",
        "benchmark_analyses benchmark_commands benchmark_datasets benchmark_executors benchmark_metrics "
        "benchmark_models benchmark_options",
    ]


def write_diary(folder: Path) -> None:
    """42 users who walk along six items, seven from each: the item before says which is next."""
    lines = [f"u{user}: " + " ".join(f"i{(user + step) % 6}@{100 + step}" for step in range(5)) for user in range(42)]
    (folder / "walk.diary").write_text("\n".join(lines))


def test_it_keeps_the_contract(environment: dict[str, str], tmp_path: Path) -> None:
    write_diary(tmp_path)
    assert python(CONTRACT, environment, tmp_path).splitlines() == [
        "{'recommendation': 1.0}",
        "('recommendation', 'search')",
        "('recommendation',)",
    ]


def benchmark(*arguments: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmark.cli", *arguments],
        env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_it_runs_in_a_suite(environment: dict[str, str], tmp_path: Path, executor: str) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    command = ["run", "suite.yaml", "--results", "out", "--tracking", "off", "--executor", executor]
    done = benchmark(*command, environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    board = json.loads((tmp_path / "out" / "acme" / "leaderboard.json").read_text())
    means = {
        (row["model"], row["metric"]): row["mean"]
        for row in board["rows"]
        if (row["dataset"], row["task"], row["slice"]) == ("Circle", "recommendation", "all")
    }
    assert set(means) == {(model, metric) for model in ("Pop", "Repeat") for metric in METRICS}
    assert means["Repeat", "R@1"] == 1
    assert means["Pop", "R@1"] < 0.2
    # Lower is better: the lower mean is bold and has the mark, and "better" is what the claim expects.
    assert means["Repeat", "Missed@1"] == 0
    assert [claim["verdict"] for claim in board["claims"]] == ["holds for this fit"]
    report = (tmp_path / "out" / "acme" / "leaderboard.md").read_text().splitlines()
    repeat, pop = (next(line for line in report if line.startswith(f"| {name} |")) for name in ("Repeat", "Pop"))
    assert repeat.startswith("| Repeat | **1.0000**‡¹ | **0.0000**‡¹ | 1.4771 |")
    assert "**" not in pop
    assert "‡" not in pop
    # 30 items that are equally popular: every list is as surprising as log10(30).
    assert means["Repeat", "Novelty(base=10)@5"] == pytest.approx(1.4771, abs=1e-4)
    again = benchmark(*command, environment=environment, folder=tmp_path)
    assert "0 cells computed" in again.stdout


def test_one_run_uses_its_file_format_model_metric_table_and_executor(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "suite.yaml").write_text(DIARY)
    write_diary(tmp_path)
    command = ["run", "suite.yaml", "--results", "out", "--tracking", "off", "--executor", "acme-queue"]
    done = benchmark(*command, environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    report = (tmp_path / "out" / "diary" / "leaderboard.md").read_text().splitlines()
    assert "| Repeat | **0.0000**‡¹ |" in report  # the lowest is the best
    assert "| Diary | Repeat | recommendation | 6 | 0.1667 |" in report
    (tmp_path / "walk.diary").write_text("u0 i0@1\n")
    broken = benchmark(*command, environment=environment, folder=tmp_path)
    assert broken.returncode == 2
    assert "data set 'acme-diary': walk.diary, line 1: there is no ':' after the user." in broken.stderr


def test_its_executor_tells_a_failed_cell_from_a_lost_one(environment: dict[str, str], tmp_path: Path) -> None:
    """A model that fails has said why; a command that cannot end leaves it to the executor."""
    (tmp_path / "suite.yaml").write_text(SUITE)
    command = ["run", "suite.yaml", "--results", "out", "--tracking", "off", "--executor", "acme-queue"]
    done = benchmark(*command, "--set", "models.Repeat.params.damping=-1.0", environment=environment, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "ZeroDivisionError: float division by zero" in done.stdout + done.stderr
    assert "1 cells computed, 0 reused, 1 failed" in done.stdout
    (tmp_path / "crash").write_text("#!/bin/sh\nkill -9 $$\n")
    (tmp_path / "crash").chmod(0o755)
    lost = benchmark(*command, "--option", "acme.prefix=./crash", environment=environment, folder=tmp_path)
    assert "the command ended with exit code -9" in lost.stdout + lost.stderr
    assert "0 cells computed, 1 reused, 1 failed" in lost.stdout
    again = benchmark(*command, environment=environment, folder=tmp_path)
    assert "1 cells computed, 1 reused, 0 failed" in again.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--executor", "acme-queu"), "unknown executor 'acme-queu'. Did you mean 'acme-queue'?"),
        (("--executor", "acme-queue", "--option", "acme.most=1"), "acme-queue takes 1 jobs; there are 2."),
        (("--option", "acme.most=many"), "options 'acme': the parameter 'most' must be int, got 'many'"),
        (("--option", "acme.mots=1"), "unknown option 'mots' in options 'acme'. Did you mean 'most'?"),
        (("--option", "acne.most=1"), "unknown options 'acne'. Did you mean 'acme'?"),
        (("--option", "acme.most"), "--option acme.most: it is written as plugin.option=value."),
    ],
)
def test_a_wrong_executor_or_option_is_refused(
    environment: dict[str, str], tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    done = benchmark("run", "suite.yaml", "--tracking", "off", *words, environment=environment, folder=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr


def test_its_command_is_one_of_benchmark(environment: dict[str, str], tmp_path: Path) -> None:
    done = benchmark("acme-answer", "Life?", "--code", "3", environment=environment, folder=tmp_path)
    assert (done.returncode, done.stdout) == (3, "Life? 42\n")
    helped = benchmark("--help", environment=environment, folder=tmp_path).stdout
    assert "\n    acme-answer The answer, and a question\n" in helped
    assert "\n    run " in helped
    wrong = benchmark("acme-anser", environment=environment, folder=tmp_path)
    assert wrong.returncode == 2
    assert "unknown command 'acme-anser'. Did you mean 'acme-answer'?" in wrong.stderr


def test_without_it_the_suite_is_refused(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    done = benchmark("check", "suite.yaml", environment=dict(os.environ), folder=tmp_path)
    assert done.returncode == 2
    assert "error: unknown metric 'Missed'." in done.stderr
