"""A suite file that could take hours or all memory to read is refused at once, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import BenchmarkError
from benchmark.data.protocol import Protocol
from benchmark.data.split import split_log
from benchmark.data.types import Dataset
from benchmark.plan import _check_depth
from benchmark.suite.load import load_suite
from benchmark.suite.schema import Suite
from benchmark.testing import make_catalog, make_log

SUITE = """\
name: small
datasets: [{use: movielens}]
models: [{use: popular}]
metrics: [R@10]
"""
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60))


def load(folder: Path, text: str) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(text)
    return load_suite(str(path))[0]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, r"suite.yaml:5: more than 50,000 values, when aliases are written out"),
        (MERGED, r"more than 50,000 values, when aliases are written out"),
        (CHAIN, r"more than 50 levels are nested when aliases are written out"),
        ("a: &a [*a]\n", r"suite.yaml:1: an alias in it contains itself"),
        ("[" * 100_000, r"suite.yaml:1 is not valid YAML: more than 50 levels are nested"),
        ("- " * 100_000, r"more than 50 levels are nested"),
        ("{a: " * 100_000, r"more than 50 levels are nested"),
        ("#" * 1_000_001, r"has 1,000,001 bytes; 1,000,000 are allowed"),
        ("depth: " + "1" * 5000, r"suite.yaml:1: no number or date has more than 100 characters"),
        ("depth: 1" + ":1" * 5000, r"no number or date has more than 100 characters"),
        ("? [a, b]\n: 1\n", r"suite.yaml:1: a key must be a string, and YAML reads a list or a mapping as something"),
        ("yes: 1\n", r"a key must be a string, and YAML reads 'yes' as something else. Put it in quotes"),
        ("1: 2\n", r"a key must be a string"),
        ("name: 2024-13-45\n", r"is not valid YAML: a date or a tagged value is wrong"),
        ("name: !!bool maybe\n", r"is not valid YAML: a date or a tagged value is wrong"),
        ('title: "\\ud800"\n', r"suite.yaml:1: a text holds half of a character"),
        ('title: "\x1b"\n', r"is not valid YAML"),
    ],
    ids=range(17),
)
def test_what_would_take_hours_to_read_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BenchmarkError, match=says):
        load(tmp_path, text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("depth: 1000000000", r"suite.yaml:5: 'depth': must be at most 1,000,000: longer lists fit into no memory"),
        ("threads: 5000", r"'threads': must be at most 1,024: no machine has more cores"),
        ("seeds: [4294967296]", r"'seeds.0': must be at most 4,294,967,295: random generators take seeds of 32 bits"),
        ("seeds: [" + ", ".join(map(str, range(1001))) + "]", r"'seeds': list should have at most 1000 items"),
        ("significance: {permutations: 1000000000}", r"'significance.permutations': must be at most 10,000,000"),
        ("protocol: {max_history: 1000000000}", r"'protocol.max_history': must be at most 1,000,000"),
        ("protocol: {copies_within: 100000000000000000000}", r"these are seconds, and that is 68 years"),
        ("protocol: {candidates: {search: {kind: uniform, n: 1000000000}}}", r"n': must be at most 1,000,000"),
        ("head_share: .inf", r"'head_share': input should be"),
    ],
)
def test_a_number_beyond_all_use_is_refused_with_the_reason(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BenchmarkError, match=says):
        load(tmp_path, f"{SUITE}{text}\n")


@pytest.mark.timeout(20)
def test_a_long_chain_of_models_like_others_is_read_in_no_time(tmp_path: Path) -> None:
    chain = "".join(f"  - {{like: M{i + 1}, name: M{i}, params: {{source: search}}}}\n" for i in range(999))
    models = f"models:\n{chain}  - {{use: popular, name: M999}}\n"
    assert {model.use for model in load(tmp_path, SUITE.replace("models: [{use: popular}]\n", models)).models} == {
        "popular"
    }


def test_an_empty_file_is_not_a_suite(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="must be a mapping"):
        load(tmp_path, "")


def test_set_and_seeds_are_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE)
    with pytest.raises(BenchmarkError, match=r"--set title=&a .*: an alias in it contains itself"):
        load_suite(str(path), settings=["title=&a [*a]"])
    with pytest.raises(BenchmarkError, match="--seeds 1000000000: at least one seed is needed, and at most 1,000"):
        load_suite(str(path), seeds=10**9)


def test_aliases_and_merge_keys_of_ordinary_use_work(tmp_path: Path) -> None:
    models = "models:\n  - &pop {use: popular, name: A}\n  - {<<: *pop, name: B}\n"
    suite = load(tmp_path, SUITE.replace("models: [{use: popular}]\n", models))
    assert [(model.use, model.name) for model in suite.models] == [("popular", "A"), ("popular", "B")]


def of_items(count: int) -> Dataset:
    log = make_log([(0, i, i) for i in range(4)], catalog=make_catalog([""] * count))
    return split_log("D", log, Protocol())


def test_rankings_are_no_deeper_than_the_largest_data_set(tmp_path: Path) -> None:
    suite = load(tmp_path, SUITE)
    small, large = of_items(10), of_items(2000)
    _check_depth(suite, {"small": small})  # the default of 100 suits any data set
    deep = suite.model_copy(update={"depth": 2000})
    _check_depth(deep, {"small": small, "large": large})
    with pytest.raises(BenchmarkError, match="depth: 2,000 items cannot be ranked where there are 10"):
        _check_depth(deep, {"small": small})
