"""The library for plugins that train: its example is a whole model, and each of its parts does what it says."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import benchmark_accuracy
import torch

import benchmark_torch
from benchmark import BenchmarkError, Context, ContractError, Ragged, Ranking, Requests, Split
from benchmark.testing import check_model, checkerboard, make_requests
from benchmark_torch.encoder import find_encoder, load_encoder
from benchmark_torch.randomness import seed_of, seeded
from benchmark_torch.training import Schedule, fit_key, train
from benchmark_torch.validation import validate


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model in the docstring of the package, copied into a module of a stranger's."""
    text = inspect.cleandoc(benchmark_torch.__doc__ or "")
    (tmp_path / "last_item.py").write_text(textwrap.dedent(text[text.index("    from dataclasses") :]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "last_item", raising=False)
    return importlib.import_module("last_item").LastItem


# The example


def test_the_example_keeps_the_contract(example: Any) -> None:
    # Success@1 is 1.000 in each of five seeds.
    check_model(example)


def test_the_example_resumes_to_the_same_weights(example: Any, tmp_path: Path) -> None:
    data = checkerboard()
    whole, killed, resumed = (example(epochs=4) for _ in range(3))
    contexts = [Context(0, "cpu", tmp_path / name) for name in ("whole", "cut", "cut")]
    whole.fit(data.train, data.valid, contexts[0])

    def die(step: int, total: int, values: Any) -> None:
        if step == 2:
            raise KeyboardInterrupt

    contexts[1].on_progress = die
    with pytest.raises(KeyboardInterrupt):
        killed.fit(data.train, data.valid, contexts[1])
    resumed.fit(data.train, data.valid, contexts[2])
    for a, b in zip(whole.module_.parameters(), resumed.module_.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)
    assert contexts[2].curve == contexts[0].curve
    assert contexts[2].facts == contexts[0].facts
    assert sorted(contexts[0].curve[0]) == ["loss", "nDCG@10", "step"]


# The loop


class Slope(torch.nn.Module):
    """One weight, which each update moves by a learning rate of 1, Adam's step for a constant gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))


def descend(module: Slope, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, int]]:
    """Batches of 1 and of 3 examples, with losses that are 1 and 3 at first and fall by 1 in every update."""
    for n in (1, 3):
        yield n - (0 - module.weight), n


def fit(folder: Path, schedule: Schedule, validate: Any = None, **given: Any) -> tuple[Slope, Context]:
    module, context = Slope(), Context(0, "cpu", folder)
    train(module, lambda rng: descend(module, rng), schedule, context, identity=[given], validate=validate)
    return module, context


def test_the_mean_loss_is_over_examples_or_updates(tmp_path: Path) -> None:
    _, context = fit(tmp_path, Schedule(1.0, epochs=1, patience=1))
    assert context.curve == [{"step": 1, "loss": pytest.approx((1 * 1 + 3 * (3 - 1)) / 4)}]
    assert context.facts == {"best_epoch": 1, "epochs": 1, "updates": 2, "examples": 4}
    _, context = fit(tmp_path, Schedule(1.0, epochs=1, patience=1, mean_over="updates"))
    assert context.curve == [{"step": 1, "loss": pytest.approx((1 + (3 - 1)) / 2)}]


@pytest.mark.parametrize(
    ("values", "patience", "best", "epochs"),
    [
        ([(0.1, 0), (0.3, 0), (0.2, 9), (0.3, 0), (0.9, 0)], 2, 2, 4),
        ([(0.1, 0), (0.1, 1), (0.1, 1), (0.1, 1)], 2, 2, 4),
        ([(0.1, 0), (0.0, 0), (0.2, 0)], 5, 3, 3),
        ([()] * 3, 1, 3, 3),
    ],
    ids=["stops early", "the second value decides between equal ones", "the last is the best", "no values"],
)
def test_the_epoch_that_validates_best_is_kept(
    values: list[tuple[float, ...]], patience: int, best: int, epochs: int, tmp_path: Path
) -> None:
    left = iter(values)
    module, context = fit(
        tmp_path,
        Schedule(1.0, epochs=len(values), patience=patience),
        lambda: dict(zip(("R@1", "RR@1"), next(left), strict=False)),
    )
    assert (context.facts["best_epoch"], context.facts["epochs"]) == (best, epochs)
    assert module.weight.item() == pytest.approx(-2 * best, rel=1e-3)
    assert not module.training


def test_a_stage_has_a_checkpoint_and_names_of_its_own(tmp_path: Path) -> None:
    module, context = Slope(), Context(0, "cpu", tmp_path)
    for schedule in (
        Schedule(1.0, epochs=2, patience=1, stage="first", after=1),
        Schedule(1.0, epochs=1, patience=1, before=2),
    ):
        train(module, lambda rng: descend(module, rng), schedule, context, identity=[])
    assert [sorted(point) for point in context.curve] == [["first_loss", "step"]] * 2 + [["loss", "step"]]
    assert context.facts == {"first_epochs": 2, "best_epoch": 3, "epochs": 3, "updates": 6, "examples": 12}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "first_checkpoint.pt"]


def test_only_the_same_fit_takes_up_a_checkpoint(tmp_path: Path) -> None:
    calls = []

    def count() -> dict[str, float]:
        calls.append(1)
        return {"R@1": 0.5}

    schedule = Schedule(1.0, epochs=1, patience=1)
    for dropout, expected in ((0.1, 1), (0.1, 1), (0.2, 2)):
        fit(tmp_path, schedule, count, dropout=dropout)
        assert len(calls) == expected


def test_mistakes_are_named(tmp_path: Path) -> None:
    schedule = Schedule(1.0, epochs=2, patience=2)
    with pytest.raises(ContractError, match=r"validation gave R@1 = nan after epoch 1; it must be a finite number"):
        fit(tmp_path, schedule, lambda: {"R@1": math.nan})
    with pytest.raises(BenchmarkError, match="no training example"):
        train(Slope(), lambda rng: [], schedule, Context(0, "cpu", tmp_path), identity=[])
    module = Slope()
    with pytest.raises(BenchmarkError, match=r"NaN in epoch 1, with learning_rate 1. Set a lower .* 0.1 for example"):
        train(
            module, lambda rng: [(module.weight * math.nan, 1)], schedule, Context(0, "cpu", tmp_path), identity=[]
        )  # fmt: skip


def test_a_key_tells_contents_apart() -> None:
    rows = np.arange(5000)
    other = rows.copy()
    other[2500] = 0
    parts: list[object] = [rows, other, rows.astype(np.int32), rows.reshape(2, 2500), torch.from_numpy(other), 1, "1"]
    parts += [np.array(["a", word], dtype=object) for word in "bc"]
    parts += [torch.ones(2, dtype=torch.bfloat16), torch.ones(1).expand(2)]
    keys = [fit_key(part) for part in parts]
    # A tensor has the content of an array, and its type has another name.
    assert len({*keys}) == len(parts)
    assert fit_key(rows, 1) == fit_key(np.arange(5000), 1) != fit_key(1, rows)


# Seeds


def test_a_seeded_block_leaves_the_generator_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with seeded(Context(seed, "cpu", tmp_path)):
            drawn.append(float(torch.rand(())))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_seed_of_several_numbers() -> None:
    assert seed_of(0, 1) == 2_918_264_622_725_855_778
    assert len({seed_of(0, 1), seed_of(1, 0), seed_of(0, 2)}) == 3
    assert seed_of(1, 0) == seed_of(1)


# Validation


def make_split(n: int, relevant: Ragged) -> Split:
    return Split(make_requests(queries=[""] * n), relevant)


def test_validation_by_hand() -> None:
    items = np.array([[4, 2, 9], [1, -1, -1]], dtype=np.int32)
    split = make_split(2, Ragged.from_rows([[9, 2, 7], [0]]))
    ranking = Ranking(items, np.zeros((2, 3), dtype=np.float32))
    values = validate(lambda requests, k: ranking, {"search": split}, "R@3", "RR@3", "R@1", "nDCG@2")
    # Of the three relevant items of the first request ranks 2 and 3 show two; the second request finds nothing.
    ideal = 1 + 1 / math.log2(3)
    assert values == {
        "R@3": pytest.approx((2 / 3 + 0) / 2),
        "RR@3": pytest.approx((1 / 2 + 0) / 2),
        "R@1": 0,
        "nDCG@2": pytest.approx((1 / math.log2(3) / ideal + 0) / 2),
    }


@pytest.mark.parametrize("k", [1, 5, 30])
def test_validation_is_what_the_metrics_report(k: int) -> None:
    rng = np.random.default_rng(0)
    items = np.argsort(rng.random((200, 40)), axis=1)[:, :30].astype(np.int32)
    items[::7, 20:] = -1
    relevant = Ragged.from_rows([rng.permutation(40)[: rng.integers(1, 30)] for _ in range(200)])
    ranking = Ranking(items, np.zeros((200, 30), dtype=np.float32))
    split = make_split(200, relevant)
    values = validate(lambda requests, depth: ranking, {"search": split}, f"R@{k}", f"RR@{k}", f"nDCG@{k}")
    for name in ("R", "RR", "nDCG"):
        reported = benchmark_accuracy.KERNELS[name](ranking, relevant, k).mean()
        assert values[f"{name}@{k}"] == pytest.approx(reported, rel=1e-14)


def test_two_tasks_are_averaged_and_one_without_requests_does_not_count() -> None:
    def rank(requests: Requests, k: int) -> Ranking:
        return Ranking(np.zeros((len(requests), k), dtype=np.int32), np.zeros((len(requests), k), dtype=np.float32))

    right, wrong = (make_split(1, Ragged.from_rows([[item]])) for item in (0, 1))
    none = make_split(0, Ragged.empty(0))
    assert validate(rank, {"recommendation": right, "search": wrong}, "R@1") == {
        "R@1": 0.5, "R@1.recommendation": 1, "R@1.search": 0
    }  # fmt: skip
    assert validate(rank, {"recommendation": right, "search": none}, "R@1") == {"R@1": 1}
    assert validate(rank, {"search": none}, "R@1") == {}
    with pytest.raises(BenchmarkError, match="no validation metric 'MAP@10'; take one of R@10, RR@10, nDCG@10"):
        validate(rank, {"search": right}, "MAP@10")


# Text encoders


def test_an_encoder_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers")
    assert find_encoder("intfloat/e5-small") is None
    assert find_encoder(str(tmp_path)) == tmp_path
    with pytest.raises(BenchmarkError, match=r"no folder '\./absent' with a text encoder"):
        find_encoder("./absent")
    (tmp_path / "some_package").mkdir()
    (tmp_path / "some_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("benchmark_torch.encoder.BUNDLED", "some_package")
    with pytest.raises(BenchmarkError, match=r"has no weights at .*model\.safetensors"):
        load_encoder("", "cpu")
