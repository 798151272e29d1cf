"""A suite is validated whole, and every mistake in it is answered with its line and the closest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.suite.file import shipped_suites
from benchmark.suite.load import load_suite
from benchmark.suite.schema import Suite

TEXT = """\
name: small
profile: laptop
datasets:
  - {use: movielens, name: ML}
models:
  - use: popular
    name: Pop
  - {use: sasrec, name: SASRec, params: {epochs: 1, loss: CE}}
metrics: [R@30]
profiles:
  laptop:
    reduced: true
  gpu:
    seeds: [0, 1, 2]
    protocol: {max_history: 200}
    models:
      - {name: SASRec, params: {epochs: 50}}
      - {use: bm25, name: BM25}
"""


def load(tmp_path: Path, text: str = TEXT, **options: object) -> Suite:
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    return load_suite(str(path), **options)[0]  # type: ignore[arg-type]


def test_a_profile_merges_by_name(tmp_path: Path) -> None:
    own = TEXT.replace("    protocol:", "    datasets: [{use: files, params: {path: data}}]\n    protocol:")
    suite = load(tmp_path, own, profile="gpu")
    assert [m.name for m in suite.models] == ["Pop", "SASRec", "BM25"]
    assert [data.name for data in suite.datasets] == ["ML", "files"]
    assert suite.models[1].params == {"epochs": 50, "loss": "CE"}
    assert (suite.seeds, suite.protocol.max_history, suite.reduced) == ([0, 1, 2], 200, False)
    assert load(tmp_path).reduced


DATA = "  - {use: movielens, name: ML}\n"
COLD = (
    DATA.replace("}", ', models: ["!*KNN"]}')
    + """\
  - use: movielens
    name: ML-cold
    models: [KNN, "SAS*"]
    protocol: {unseen_share: 0.05}
    optional: true
"""
)


def with_cold(claim: str = "") -> str:
    text = TEXT.replace(DATA, COLD).replace("metrics:", "  - {use: semantic_knn, name: KNN}\nmetrics:")
    return text.replace("metrics:", "protocol: {max_history: 20}\nmetrics:") + claim


def test_a_data_set_says_which_models_run_on_it_and_what_of_the_protocol_is_its_own(tmp_path: Path) -> None:
    suite = load(tmp_path, with_cold())
    runs = {data.name: [model.name for model in suite.models if data.wants(model.name)] for data in suite.datasets}
    assert runs == {"ML": ["Pop", "SASRec"], "ML-cold": ["SASRec", "KNN"]}
    common, cold = suite.datasets[0].protocol, suite.datasets[1].protocol
    assert common is None
    assert cold is not None
    assert (cold.unseen_share, cold.max_history, suite.protocol.max_history) == (0.05, 20, 20)
    changed = with_cold().replace("    seeds: [0, 1, 2]", "    datasets: [{name: ML, models: [SASRec]}]")
    assert load(tmp_path, changed, profile="gpu").datasets[0].models == ["SASRec"]
    with pytest.raises(BenchmarkError, match=r"unknown model 'KNM'.*Did you mean 'KNN'"):
        load(tmp_path, with_cold().replace("[KNN,", "[KNM,"))


CLAIMS = """
claims:
  - where: {dataset: "*", task: recommendation, metric: R@30}
    expect: {SASRec > SASRec: t, SASRec > KNN: u}
  - {where: {dataset: ML, task: recommendation, slice: head, metric: R@30}, expect: {SASRec > Pop: v}, source: s}
"""


def test_a_claim_about_a_pattern_is_one_claim_for_each_data_set_with_its_models(tmp_path: Path) -> None:
    claims = load(tmp_path, with_cold(CLAIMS)).claims
    assert [(c.id, c.where.dataset, c.expect, c.text, c.source) for c in claims] == [
        ("ML/recommendation/R@30/SASRec > SASRec", "ML", "SASRec > SASRec", "t", ""),
        ("ML-cold/recommendation/R@30/SASRec > SASRec", "ML-cold", "SASRec > SASRec", "t", ""),
        ("ML-cold/recommendation/R@30/SASRec > KNN", "ML-cold", "SASRec > KNN", "u", ""),
        ("ML/recommendation/head/R@30/SASRec > Pop", "ML", "SASRec > Pop", "v", "s"),
    ]
    with pytest.raises(BenchmarkError, match=r"unknown data set 'MK\*' in claims of .*Known: ML, ML-cold"):
        load(tmp_path, with_cold(CLAIMS.replace('"*"', '"MK*"')))
    elsewhere = with_cold(CLAIMS.replace('"*"', '"Big*"')) + "\n"
    elsewhere = elsewhere.replace("    seeds: [0, 1, 2]", "    datasets: [{use: files, name: Bigger}]")
    assert [c.expect for c in load(tmp_path, elsewhere).claims] == ["SASRec > Pop"]


PUBLISHED = """
paper: P
tables:
  - {table: Table 1, page: 8, metric: R@30, dataset: ML, task: recommendation, slice: all, data: d,
     values: {SAS: 0.12, Pop: 0.05, KNN: 0.060}, marks: {SAS: ‡, Pop: ‡}}
  - {table: Table 1, page: 8, metric: R@30, dataset: Big, task: recommendation, slice: all, data: d,
     values: {SAS: 0.5, Pop: 0.625, KNN: 0.25}}
  - {table: Table 1, page: 0, metric: R@30, dataset: ML, task: recommendation, slice: all, data: d,
     values: {SAS: 0.99, Pop: 0.99, KNN: 0.99}, source: somebody else}
"""


@pytest.mark.parametrize(
    ("dataset", "metric", "expect", "source"),
    [
        ("ML", "R@30", "SASRec > Pop", "Table 1, page 8: 0.12‡ vs 0.05"),
        ("ML", "R@30|new", "SASRec > Pop", "Table 1, page 8: 0.12‡ vs 0.05"),
        ("ML", "R@30", "Pop = 0.05 ± 0.01", "Table 1, page 8: 0.05‡"),
        ("ML", "R@30", "SASRec > Pop, KNN", "Table 1, page 8: 0.12‡ vs at most 0.06 (KNN)"),
        ("ML", "R@30", "Pop < SASRec, KNN", "Table 1, page 8: 0.05‡ vs at least 0.06 (KNN)"),
        ("*", "R@30", "SASRec > Pop", "Table 1, page 8: R@30 0.12‡ vs 0.05 on ML, 0.500 vs 0.625 on Big"),
        ("ML-cold", "R@30", "SASRec > Pop", "Table 1"),
        ("ML", "R@30", "SASRec > BM25", "Table 1"),
        ("ML", "R@10", "SASRec > Pop", "Table 1"),
    ],
)
def test_the_source_of_a_claim_has_the_numbers_that_are_published(
    tmp_path: Path, dataset: str, metric: str, expect: str, source: str
) -> None:
    (tmp_path / "published.yaml").write_text(PUBLISHED)
    place = f'{{dataset: "{dataset}", task: recommendation, metric: {metric}}}'
    claim = f'{{where: {place}, source: Table 1, expect: {{"{expect}": t}}}}'
    text = with_cold(f"published: published.yaml\nclaims: [{claim}]\n")
    text = text.replace("name: SASRec, params", "name: SASRec, published_as: SAS, params")
    assert load(tmp_path, text.replace('models: ["!*KNN"]', "note: n")).claims[0].source == source


def test_set_and_seeds_change_single_values(tmp_path: Path) -> None:
    suite = load(tmp_path, settings=["models.SASRec.params.epochs=3", "protocol.mask_seen=true"], seeds=2)
    assert suite.models[1].params["epochs"] == 3
    assert suite.protocol.mask_seen
    assert suite.seeds == [0, 1]


def test_a_profile_may_be_the_only_one_with_data_sets(tmp_path: Path) -> None:
    text = TEXT.replace("datasets:\n" + DATA, "").replace("    reduced: true", "    datasets: [{use: movielens}]")
    assert [data.name for data in load(tmp_path, text).datasets] == ["movielens"]
    with pytest.raises(BenchmarkError, match="'datasets' is missing"):
        load(tmp_path, text.replace("profile: laptop", ""))


TREE = """\
name: tree
datasets: [{use: movielens, name: ML}]
models:
  - {like: Leaf, name: Twig, params: {loss: {margin: 2}}}
  - {use: sasrec, name: Root, params: {epochs: 5, loss: {kind: CE, margin: 1}}, note: n, seconds: 9}
  - {like: Root, name: Leaf, without: [epochs, layers], params: {loss: {kind: BCE}}}
metrics: [R@30]
profiles:
  gpu:
    models:
      - {name: Root, params: {heads: 4, layers: 3}}
      - {name: Twig, params: {heads: 8}}
      - {like: Root, name: Late}
"""


def test_a_model_that_is_like_another_has_its_parameters_in_every_profile(tmp_path: Path) -> None:
    laptop, gpu = ({m.name: m for m in load(tmp_path, TREE, profile=name).models} for name in (None, "gpu"))
    assert {name: model.params for name, model in laptop.items()} == {
        "Twig": {"loss": {"kind": "BCE", "margin": 2}},
        "Root": {"epochs": 5, "loss": {"kind": "CE", "margin": 1}},
        "Leaf": {"loss": {"kind": "BCE", "margin": 1}},
    }
    assert {name: model.params for name, model in gpu.items()} == {
        "Twig": {"loss": {"kind": "BCE", "margin": 2}, "heads": 8},
        "Root": {"epochs": 5, "loss": {"kind": "CE", "margin": 1}, "heads": 4, "layers": 3},
        "Leaf": {"loss": {"kind": "BCE", "margin": 1}, "heads": 4},
        "Late": {"epochs": 5, "loss": {"kind": "CE", "margin": 1}, "heads": 4, "layers": 3},
    }
    assert {model.use for model in gpu.values()} == {"sasrec"}
    assert (laptop["Leaf"].note, laptop["Leaf"].seconds) == ("", None)
    assert "like" not in laptop["Leaf"].model_dump()
    changed = load(tmp_path, TREE, settings=["models.Root.params.loss.margin=7"])
    assert changed.models[2].params == {"loss": {"kind": "BCE", "margin": 7}}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("like: Leaf", "like: Leef", "unknown model 'Leef' in `like` of model 'Twig'. Did you mean 'Leaf'?"),
        ("like: Leaf", "like: Twig", "in a circle: Twig is like Twig. Give one of them a `use`"),
        ("use: sasrec", "like: Twig", "in a circle: Twig is like Leaf is like Root is like Twig."),
        ("like: Leaf", "like: Leaf, use: sasrec", "model 'Twig' has both `use` and `like`"),
        ("like: Root, name: Late", "like: Root", "a model that is like 'Root' has no name"),
        ("like: Leaf", "use: sasrec, without: [epochs]", "model 'Twig' has `without` and no `like`"),
        ("like: Leaf", "like: 3", "unknown model '3' in `like` of model 'Twig'"),
        ("[epochs, ", "[epoch, ", "unknown parameter 'epoch' in `without` of model 'Leaf'. Did you mean 'epochs'?"),
        ("[epochs, layers]", "epochs", "'models.2.without': input should be a valid list (given: 'epochs')"),
        ("like: Root, name: Late", "name: Late", "unknown model 'Late' in the profile"),
    ],
)
def test_a_mistake_in_like_is_named_with_its_remedy(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in TREE
    with pytest.raises(BenchmarkError) as caught:
        load(tmp_path, TREE.replace(old, new), profile="gpu")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("metrics:", "metric:", "suite.yaml:9: unknown key 'metric'. Did you mean 'metrics'?"),
        ("    name: Pop", "    nam: Pop", "suite.yaml:7: unknown key 'models.0.nam'. Did you mean 'name'?"),
        ("metrics: [R@30]", "", "'metrics' is missing"),
        ("name: small", "name: small\nseeds: one", "suite.yaml:2: 'seeds'"),
        ("name: small", "name: small\nseeds: [0, 0]", "seeds holds 0 twice"),
        ("name: Pop", "name: SASRec", "two models are called 'SASRec'"),
        ("profile: laptop", "profile: lapto", "unknown profile 'lapto' in"),
        ("name: small", "name: small\ncompare: [{model: Popp, against: [SASRec]}]", "Did you mean 'Pop'?"),
        ("name: small", "name: [", "is not valid YAML"),
        ("name: small", "name: small\nname: large", "suite.yaml:2: duplicate key 'name'"),
        ("name: small", "name: small\nslices: [all, all]", "slices holds 'all' twice"),
        ("name: small", "name: small\ncompare: [{model: Pop, against: [Pop]}]", "'Pop' against itself"),
        ("name: small", "name: small\ncompare: [{model: Pop, against: []}]", "'compare.0.against'"),
        ("name: small", "name: small\nseeds: ['1']", "'seeds.0'"),
        ("name: small", "name: small\nseeds: [-1]", "'seeds.0'"),
        ("    reduced: true", "    datasets: [{name: ML, remove: true}]", "unknown key 'datasets.0.remove'"),
        ("name: small", "name: small\nclaims: [{where: {}}]", "suite.yaml:2: 'claims.0.where.dataset' is missing"),
        ("name: small", "name: small\nclaims: [{id: a}]", "unknown key 'claims.0.id'. Known: expect, real_searches"),
        ("params: {epochs: 1, loss: CE}", "params: 3", "'models.1.params'"),
        (
            "name: small",
            "name: small\nmask_seen: true",
            "suite.yaml:2: unknown key 'mask_seen'. 'mask_seen' belongs in `protocol:`.",
        ),
        ("    reduced: true", "    mask_seen: true", "suite.yaml:12: unknown key 'mask_seen'."),
        ("    reduced: true", "    protocol: {max_history: 0}", "suite.yaml:12: 'protocol.max_history'"),
        ("name: ML}", "name: ML, mask_seen: true}", "'datasets.0.mask_seen'. 'mask_seen' belongs in its `protocol:`."),
        ("name: small", "name: small\nspare: user", "'spare' belongs in `protocol: candidates:`."),
        ("name: small", "name: small\ntask: search", "'task' belongs in `compare:` or `claims: where:`."),
        (
            "name: small",
            "name: small\nprotocol: {profile: x}",
            "'profile' belongs in the suite itself.",
        ),
        (
            "name: small",
            "name: small\nprotocol:\n  seed: 1\n  max_history: 0",
            "suite.yaml:4: 'protocol.max_history': input should be greater than or equal to 1 (given: 0).",
        ),
        (
            "name: small",
            "name: small\nprotocol: {test_share: 0.9}",
            "suite.yaml:2: 'protocol': valid_share 0.1 and test_share 0.9 leave nothing to train on; their sum",
        ),
        (
            "name: ML}",
            "name: ML, protocol: {copies_within: 1, leaky: true}}",
            "suite.yaml:4: 'datasets.0.protocol': leaky leaves copies in",
        ),
        ("  - {use: movielens, name: ML}", "  3", "'datasets'"),
        ("    reduced: true", "    [reduced]", "profile 'laptop' must be a mapping"),
        ("name: small", "name: ../up", "'name'"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        load(tmp_path, TEXT.replace(old, new))
    assert says in str(caught.value)


@pytest.mark.parametrize("setting", ["epochs", "=3", "profiles.gpu.seeds=[0]", "models.Popp.params.x=1", "name.x=1"])
def test_a_wrong_set_is_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(BenchmarkError, match="--set"):
        load(tmp_path, settings=[setting])


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="not valid YAML"):
        load(tmp_path, "name: !!python/object/apply:os.system [true]")


def test_a_missing_suite_is_answered_with_those_there_are() -> None:
    with pytest.raises(BenchmarkError, match="Did you mean 'penha2024'"):
        load_suite("penha2042")
    with pytest.raises(BenchmarkError, match="there is no suite file"):
        load_suite("nowhere/x.yaml")


@pytest.mark.parametrize("name", shipped_suites())
def test_every_profile_of_every_shipped_suite_is_valid(name: str) -> None:
    suite, path = load_suite(name)
    assert suite.name == name == path.stem
    import yaml

    for profile in yaml.safe_load(path.read_text()).get("profiles", {}):
        assert load_suite(name, profile)[0].profile == profile


@pytest.mark.parametrize("name", shipped_suites())
def test_a_shipped_suite_fits_on_a_screen(name: str) -> None:
    lines = shipped_suites()[name].read_text(encoding="utf-8").splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > 110] == []
