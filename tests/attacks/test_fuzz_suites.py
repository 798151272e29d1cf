"""Whatever a suite file says, it becomes a plan or a BenchmarkError that says why not, and nothing is written."""

from __future__ import annotations

import contextlib
import copy
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import FUZZ
from hypothesis import event, given
from hypothesis import strategies as st

from benchmark import BenchmarkError, plugins
from benchmark.checks import print_check
from benchmark.console import print_cells
from benchmark.plan import make_plan
from benchmark.plugins import Registry
from benchmark.suite.load import load_suite

SUITES: list[dict[str, Any]] = [
    {
        "name": "one",
        "datasets": [{"use": "files", "name": "Shop", "params": {"path": "data"}}],
        "models": [
            {"use": "popular", "name": "Pop"},
            {"use": "bm25", "params": {"k1": 0.9, "b": 0.5}},
            {"like": "bm25", "name": "BM25[1.2]", "without": ["b"], "params": {"k1": 1.2}},
        ],
        "metrics": ["R@5", "nDCG@5|uni9", "RR@10"],
        "slices": ["all", "head", "torso"],
        "seeds": [0, 1],
        "protocol": {
            "split": "ratio",
            "test_share": 0.3,
            "candidates": {"recommendation": {"kind": "uniform", "n": 9}},
        },
        "compare": [{"model": "Pop", "against": ["bm25"], "primary": True, "task": "search", "metric": "R@5"}],
        "claims": [
            {
                "where": {"dataset": "*", "task": "search", "metric": "R@5"},
                "source": "Table 1",
                "expect": {"Pop = 0.1 ± 0.01": "t"},
            }
        ],
    },
    {
        "name": "two",
        "title": "Two",
        "profile": "small",
        "reduced": True,
        "depth": 20,
        "threads": 2,
        "protocol": {"mask_seen": True},
        "primary_metric": "AP(rel=1)@10",
        "datasets": [
            {
                "use": "files",
                "name": "Shop",
                "params": {"path": "data", "min_user_interactions": 2},
                "models": ["!Pop"],
            },
            {"use": "files", "name": "None", "params": {"path": "nowhere"}, "optional": True, "published_as": "N"},
        ],
        "models": [
            {"use": "popular", "name": "Pop", "seeds": [3], "note": "n", "seconds": 1.5},
            {"use": "bm25", "name": "B", "params": {"k1": 1.2}},
        ],
        "metrics": ["AP(rel=1)@10", "R@5"],
        "significance": {"alpha": 0.01, "correction": "none", "permutations": 100, "min_requests": 2},
        "profiles": {
            "small": {"datasets": [{"name": "Shop", "protocol": {"max_history": 3}}]},
            "big": {"models": [{"name": "B", "params": {"k1": 2.0}}], "metrics": ["R@10"]},
        },
    },
]
WORDS = (
    *(
        "",
        "*",
        "!*",
        "Pop",
        "bm25",
        "popular",
        "files",
        "all",
        "other-day",
        "ratio",
        "global-time",
        "all-test",
        "uniform",
    ),
    *("R@5", "R@", "@", "R@0", "R@5|", "R@5|new", "AP(rel=", "nDCG@1e9", "A > B", "= ±", "search", "data", "BM25[1.2]"),
    *("/", "~", "..", "a/b", "[", "-1", "0x1f", "1e999", "nan", "null", "2024-01-01", "é", "日本"),
    *("\x00", "\u202e", "\x1b[31m"),
)
words = st.sampled_from(WORDS)
keys = st.sampled_from(
    ["name", "use", "params", "path", "format", "sep", "names", "columns", "like", "models", "datasets", "protocol",
     "without",
     "split", "candidates", "kind", "n", "spare", "fill", "search", "recommendation", "metrics", "seeds", "expect",
     "where", "against", "profiles", "small", "published", "published_as", "optional", "depth", "personal", "x", "",
     "task", "slice", "metric", "test_share", "max_history", "max_prefixes_per_user", "ties", "header", "min_rating"]
)  # fmt: skip
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 10**6, 2**31, 2**63, 10**30]),
    st.sampled_from([0.0, -0.5, 0.1, 0.5, 1.0, 1e-300, 1e308, float("inf"), float("nan")]),
    words,
    st.text(max_size=8).filter(lambda text: text.isprintable()),
    st.dates(),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(keys, words), inner, max_size=4)),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a suite."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid suite, changed in one to four places."""
    suite = copy.deepcopy(draw(st.sampled_from(SUITES)))
    for _ in range(draw(st.integers(1, 4))):
        all_places = places(suite)
        *path, last = draw(st.sampled_from(all_places[1:])) if len(all_places) > 1 else ["x"]
        home = suite
        for key in path:
            home = home[key]
        how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "rename", "copy", "wrap"]))
        if how == "remove":
            del home[last]
        elif how == "add" and isinstance(home, dict):
            home[draw(keys)] = draw(values)
        elif how == "add":
            home.append(draw(values))
        elif how == "rename" and isinstance(home, dict):
            home[draw(keys | words)] = home.pop(last)
        elif how == "copy":
            home[last] = copy.deepcopy(draw(st.sampled_from([one for _, one in sorted_values(suite)])))
        elif how == "wrap":
            home[last] = [home[last]] if draw(st.booleans()) else {draw(keys): home[last]}
        elif last in home or isinstance(home, list):
            home[last] = draw(values)
    return yaml.safe_dump(suite, allow_unicode=True, sort_keys=False)


def sorted_values(suite: Any) -> list[tuple[str, Any]]:
    """The values of a suite with where they stand."""
    return [(str(path), value_at(suite, path)) for path in places(suite)]


def value_at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@st.composite
def scribbled(draw: st.DrawFn) -> str:
    """The text of a suite with characters that YAML has a meaning for put in, or lines taken out or moved."""
    lines = yaml.safe_dump(draw(st.sampled_from(SUITES)), sort_keys=False).splitlines()
    for _ in range(draw(st.integers(1, 5))):
        number = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(["insert", "cut", "twice", "move", "tail"]))
        if how == "insert":
            place = draw(st.integers(0, len(lines[number])))
            piece = draw(yaml_pieces)
            lines[number] = lines[number][:place] + piece + lines[number][place:]
        elif how == "cut" and len(lines) > 1:
            del lines[number]
        elif how == "twice":
            lines.insert(number, lines[number])
        elif how == "move":
            lines[number] = " " * draw(st.integers(0, 6)) + lines[number].lstrip()
        else:
            lines[number] = lines[number][: draw(st.integers(0, len(lines[number])))]
    return "\n".join(lines)


YAML = (
    *(
        ":",
        ": ",
        "- ",
        "? ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "<<: *a",
        "|",
        ">",
        "'",
        '"',
        "#",
        "%",
        "@",
        "`",
        "= ",
        ",",
    ),
    *("!!python/object:os.system ", "!!binary ", "!!set ", "!!float ", "!!timestamp ", "!!int ", "!!omap ", "!x "),
    *("\t", "---\n", "...\n", "\ufeff", "\x85", "\u2028", "\\", "\n", "\r", "~", ".inf", "0o7", "1_000", "1:30"),
)
yaml_pieces = st.sampled_from(YAML)
texts = st.lists(st.one_of(yaml_pieces, keys, words, st.characters()), max_size=30).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six users, eight items, three queries."""
    home = tmp_path_factory.mktemp("fuzz")
    data = home / "data"
    data.mkdir()
    rows = [f"u{u},i{(u + 3 * t) % 8},{10 * u + t}" for u in range(6) for t in range(5)]
    (data / "interactions.csv").write_text("user,item,time\n" + "\n".join(rows))
    (data / "items.csv").write_text("id,text\n" + "\n".join(f"i{i},item number {i}" for i in range(8)))
    (data / "queries.csv").write_text("id,text\n0,item\n1,number\n2,six\n")
    (data / "relevance.csv").write_text("query,item\n0,i1\n1,i2\n2,i6\n")
    return home


@pytest.fixture(scope="module")
def registry() -> Registry:
    return plugins.load(strict=False)


def reads(folder: Path, registry: Registry, text: str) -> None:
    """What `benchmark run --dry-run` and `benchmark check` do with a suite of this text."""
    path = folder / "suite.yaml"
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    before = sorted(folder.rglob("*"))
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        try:
            suite, source = load_suite("suite.yaml")
            plan = make_plan(suite, source, registry, Path("results"))
            print_cells(plan, 2)
            print_check(plan, registry)
            message = "a plan"
        except BenchmarkError as error:
            message = str(error)
    event("a plan" if message == "a plan" else "refused")
    assert message.strip()
    assert sorted(folder.rglob("*")) == before


@FUZZ
@given(text=mutated())
def test_a_suite_with_random_changes_is_planned_or_refused(folder: Path, registry: Registry, text: str) -> None:
    reads(folder, registry, text)


@FUZZ
@given(text=scribbled() | texts)
def test_a_text_that_resembles_a_suite_is_planned_or_refused(folder: Path, registry: Registry, text: str) -> None:
    reads(folder, registry, text)


@FUZZ
@given(value=values)
def test_any_structure_is_refused_with_a_reason(folder: Path, registry: Registry, value: Any) -> None:
    reads(folder, registry, yaml.safe_dump(value, allow_unicode=True))
