"""What `benchmark list NAME` and `benchmark list --suite-keys` say."""

from __future__ import annotations

import pytest

from benchmark import BenchmarkError
from benchmark.console import print_entries, print_offer
from benchmark.describe import Entry, docstring, offers_called, parameter_entries, suite_keys
from benchmark.plugins import Registry, load


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load()


def test_a_model_has_its_docstring_and_its_parameters_with_nested_settings(registry: Registry) -> None:
    (tiger,) = offers_called("tiger", registry)
    assert docstring(tiger).startswith("T5 over semantic IDs (Rajput 2023).")
    entries = {entry.name: entry for entry in parameter_entries(tiger)}
    assert entries["beams"] == Entry("beams", "int of at least 1", "30", "")
    assert entries["unseen_share"].type == "float from 0 to 1 or None"
    assert entries["patience"].meaning == "Stop after this many validations without a better nDCG@10."
    assert entries["identifiers"].type == "settings"
    assert entries["identifiers.codebook_rate"] == Entry(
        "identifiers.codebook_rate",
        "float above 0",
        "0.03",
        "Learning rate of the codebooks. At the encoder's rate they lag behind its latents, and items collide.",
    )
    # A subclass of settings has a default of its own, and the meaning that the class above wrote.
    (gensar,) = offers_called("gensar", registry)
    joint = {entry.name: entry for entry in parameter_entries(gensar)}
    assert joint["identifiers.hidden"].default == "[256, 128]"
    assert joint["identifiers.hidden"].meaning.startswith("Widths between the vectors and the latent")
    assert joint["collaborative.use"].default == '"sasrec"'  # of the parameter, where the class has none


def test_a_function_says_its_parameters_in_its_docstring(registry: Registry) -> None:
    (movielens,) = offers_called("movielens", registry)
    entries = {entry.name: entry for entry in parameter_entries(movielens)}
    assert entries["genome_relevance"].meaning == "0-1; the paper does not state its threshold."
    assert entries["path"].meaning.endswith("the environment variable BENCHMARK_DATA names.")
    assert "Args:" not in docstring(movielens)
    assert docstring(movielens).endswith("or no film can be searched for.")


def test_a_name_that_is_not_there_has_the_closest_one(registry: Registry) -> None:
    with pytest.raises(BenchmarkError, match=r"unknown data set, .* 'tigre'\. Did you mean 'tiger'"):
        offers_called("tigre", registry)


def test_every_offer_can_be_described(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("bm25", "files", "ItemCoverage", "diversity"):
        (offer,) = offers_called(name, registry)
        print_offer(offer)
        assert capsys.readouterr().out.startswith(f"{offer} of plugin ")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nDCG", "Higher values are better."),
        ("NumRet", "Neither higher nor lower values are better."),
        ("Gini", "Lower values are better."),
    ],
)
def test_a_metric_says_which_values_are_better(
    registry: Registry, capsys: pytest.CaptureFixture[str], name: str, says: str
) -> None:
    print_offer(registry.metrics[name])
    assert says in capsys.readouterr().out.splitlines()


def test_every_key_of_a_suite_has_a_meaning() -> None:
    keys = suite_keys()
    assert [key.name for key in keys if not key.meaning] == []
    named = {key.name: key for key in keys}
    assert len(named) == len(keys)
    assert named["protocol.max_history"] == Entry(
        "protocol.max_history",
        "int from 1 to 1,000,000 or None",
        "50",
        "Items of a history that models are given, the newest; null: all.",
    )
    assert named["claims[].where.task"].type == "one of 'recommendation', 'search'"
    assert named["datasets[].protocol"].type == "a mapping or None, with the keys of `protocol`"
    assert "protocol.candidates.*[].n" in named


def test_a_long_meaning_is_wrapped_below_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    print_entries([Entry("name", "str", "must be given", ""), Entry("depth", "int", "100", "word " * 30)])
    assert capsys.readouterr().out.splitlines() == [
        "name: str (must be given)",
        "depth: int = 100",
        "    " + " ".join(["word"] * 19),
        "    " + " ".join(["word"] * 11),
    ]
