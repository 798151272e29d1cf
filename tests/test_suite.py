"""A suite is validated whole, and every mistake in it is answered with its line and the closest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.suite import Suite, load_suite
from benchmark.suite_file import shipped_suites

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
      - {name: Pop, remove: true}
      - {use: bm25, name: BM25}
"""


def load(tmp_path: Path, text: str = TEXT, **options: object) -> Suite:
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    return load_suite(str(path), **options)[0]  # type: ignore[arg-type]


def test_a_profile_merges_by_name(tmp_path: Path) -> None:
    suite = load(tmp_path, profile="gpu")
    assert [m.name for m in suite.models] == ["SASRec", "BM25"]
    assert suite.models[0].params == {"epochs": 50, "loss": "CE"}
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


def test_a_claim_about_a_pattern_is_one_claim_for_each_data_set_with_its_models(tmp_path: Path) -> None:
    claim = """
claims:
  - {id: both, text: t, where: {dataset: "*", task: recommendation, metric: R@30}, expect: "SASRec > SASRec"}
  - {id: one, text: t, where: {dataset: "*", task: recommendation, metric: R@30}, expect: "SASRec > KNN"}
  - {id: named, text: t, where: {dataset: ML, task: recommendation, metric: R@30}, expect: "SASRec > Pop"}
"""
    claims = load(tmp_path, with_cold(claim)).claims
    assert [(c.id, c.where.dataset) for c in claims] == [
        ("both (ML)", "ML"), ("both (ML-cold)", "ML-cold"), ("one (ML-cold)", "ML-cold"), ("named", "ML"),
    ]  # fmt: skip
    with pytest.raises(BenchmarkError, match=r"unknown data set 'MK\*' in claim 'one'.*Known: ML, ML-cold"):
        load(
            tmp_path,
            with_cold(claim.replace('one, text: t, where: {dataset: "*"', 'one, text: t, where: {dataset: "MK*"')),
        )
    elsewhere = with_cold(claim.replace('"*"', '"Big*"')) + "\n"
    elsewhere = elsewhere.replace("    seeds: [0, 1, 2]", "    datasets: [{use: files, name: Bigger}]")
    assert [c.id for c in load(tmp_path, elsewhere).claims] == ["named"]


def test_set_and_seeds_change_single_values(tmp_path: Path) -> None:
    suite = load(tmp_path, settings=["models.SASRec.params.epochs=3", "mask_seen=true"], seeds=2)
    assert suite.models[1].params["epochs"] == 3
    assert suite.mask_seen
    assert suite.seeds == [0, 1]


def test_a_sweep_becomes_several_models(tmp_path: Path) -> None:
    suite = load(tmp_path, TEXT.replace("loss: CE", "loss: {sweep: [CE, BCE-1]}"))
    assert [m.name for m in suite.models] == ["Pop", "SASRec[loss=CE]", "SASRec[loss=BCE-1]"]
    assert suite.models[2].params == {"epochs": 1, "loss": "BCE-1"}


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
        ("name: small", "name: small\nname: large", "suite.yaml:2: 'name' stands here for the second time"),
        ("name: small", "name: small\nslices: [all, all]", "slices holds 'all' twice"),
        ("name: small", "name: small\ncompare: [{model: Pop, against: [Pop]}]", "'Pop' against itself"),
        ("name: small", "name: small\ncompare: [{model: Pop, against: []}]", "'compare.0.against'"),
        ("name: small", "name: small\nseeds: ['1']", "'seeds.0'"),
        ("name: small", "name: small\nseeds: [-1]", "'seeds.0'"),
        ("loss: CE", "loss: {sweep: []}", "a sweep without values"),
        ("params: {epochs: 1, loss: CE}", "params: 3", "'models.1.params'"),
        ("  - {use: movielens, name: ML}", "  3", "'datasets'"),
        ("    reduced: true", "    [reduced]", "profile 'laptop' must be a mapping"),
        ("name: small", "name: ../up", "'name'"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        load(tmp_path, TEXT.replace(old, new))
    assert says in str(caught.value)


@pytest.mark.parametrize("setting", ["epochs", "=3", "models.Popp.params.x=1", "name.x=1"])
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
