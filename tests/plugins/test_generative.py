"""Gen learns the checkerboard in both tasks; its decoding, tokens, checkpoints and widened T5s are what they claim."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import (
    PAD,
    TASKS,
    BenchmarkError,
    Context,
    ContractError,
    NotFittedError,
    Ragged,
    Ranking,
    Requests,
    Task,
)
from benchmark.plugins import build, load
from benchmark.testing import check_model, checkerboard, make_requests

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from benchmark_generative import decoding, t5, training  # noqa: E402
from benchmark_generative.gen import Gen  # noqa: E402
from benchmark_generative.tokens import Sequences, Vocabulary, concat, encode, train_words  # noqa: E402
from benchmark_generative.training import TrainSettings, batches  # noqa: E402

TINY: dict[str, Any] = {
    "d_model": 32, "d_ff": 64, "heads": 2, "layers": 1, "decoder_layers": 1, "batch_size": 32, "dropout": 0.0
}  # fmt: skip
BOTH: frozenset[Task] = frozenset(TASKS)


def fitted(tmp_path: Path, **params: Any) -> tuple[Gen, Context]:
    data, context = checkerboard(n_items=6, n_users=12), Context(0, "cpu", tmp_path)
    model = Gen(tasks=BOTH, **{**TINY, "epochs": 2, **params})
    model.fit(data.train, data.valid, context)
    return model, context


def requests(n: int, exclude: list[list[int]] | None = None, candidates: list[list[int]] | None = None) -> Requests:
    return make_requests(queries=["green apple"] * n, exclude=exclude, candidates=candidates)


@pytest.mark.parametrize(
    ("tasks", "success"), [(["recommendation"], 0.7), (["search"], 0.4), (["recommendation", "search"], 0.6)]
)
def test_contract(tasks: list[Any], success: float) -> None:
    """Success@1 over ten fits (five seeds, three of them in bf16 and two with two threads as well), mean and sd:
    .915 .034 for recommendation alone, .880 .103 for search alone, .930 .079 and .900 .047 for both; by chance .05."""
    # Three items: longer histories than training has would ask for more than the contract does.
    params = {**TINY, "epochs": 20, "patience": 20, "learning_rate": 1e-2, "dropout": 0.1, "max_history": 3}
    check_model(lambda: Gen(tasks=frozenset(tasks), **params), min_success=success)


def test_same_seed_same_rankings(tmp_path: Path) -> None:
    test = checkerboard(n_items=6, n_users=12).test["search"].requests
    first, second = (fitted(tmp_path / name, dropout=0.1)[0].rank(test, 5) for name in ("a", "b"))
    np.testing.assert_array_equal(first.items, second.items)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_answers_of_a_model_trained_in_bf16_are_in_full_precision(tmp_path: Path) -> None:
    test = checkerboard(n_items=6, n_users=12).test["search"].requests
    model, _ = fitted(tmp_path, precision="bf16")
    ours = model.rank(test, 5)
    fresh = t5.from_scratch(model.network_.config.vocab_size, 32, 64, 2, 1, 1, 0.0)
    fresh.load_state_dict(model.network_.state_dict())
    model.network_ = fresh
    np.testing.assert_array_equal(ours.scores, model.rank(test, 5).scores)


def test_facts_and_curve(tmp_path: Path) -> None:
    model, context = fitted(tmp_path, decoding="diverse_beam", beams=4, groups=2)
    assert context.facts["parameters"] == sum(p.numel() for p in model.network_.parameters())
    assert context.facts["best_epoch"] in (1, 2)
    assert context.facts["precision"] == "fp32", "on a CPU, whatever it could multiply"
    assert 2 <= context.facts["distinct_items"]["search"] <= 4
    assert [sorted(point) for point in context.curve] == [
        ["R@1", "R@1.recommendation", "R@1.search", "loss", "step"]
    ] * 2


def test_the_budget_is_recorded_in_all_and_up_to_the_chosen_epoch(tmp_path: Path, monkeypatch: Any) -> None:
    scores = iter([0.1, 0.3, 0.2, 0.2])
    monkeypatch.setattr(Gen, "_validate", lambda self, splits: {"R@1": next(scores)})
    _, context = fitted(tmp_path, epochs=4, steps=20, patience=2, batch_size=16)
    budget = {name: context.facts[name] for name in ("updates", "examples", "best_updates", "best_examples")}
    assert budget == {"updates": 20, "examples": 320, "best_updates": 10, "best_examples": 160}


def test_steps_fix_the_budget_whatever_the_number_of_pairs(tmp_path: Path) -> None:
    data, contexts = checkerboard(n_items=6, n_users=12), [Context(0, "cpu", tmp_path / name) for name in "rs"]
    for task, context in zip(TASKS, contexts, strict=True):
        Gen(tasks=frozenset({task}), **TINY, epochs=2, steps=6).fit(data.train, data.valid, context)
    assert [c.facts["updates"] for c in contexts] == [6, 6]
    assert [c.facts["examples"] for c in contexts] == [192, 192]


@pytest.mark.parametrize(("table", "layers"), [(1.0, 1.0), (0.1, 1.0), (1.0, 0.3), (0.02, 0.1)])
def test_the_table_and_the_layers_are_initialised_each_by_their_factor(table: float, layers: float) -> None:
    def drawn(table: float, layers: float) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = t5.from_scratch(50, 16, 32, 2, 1, 1, 0.0, table_init=table, layer_init=layers)
        assert model.lm_head.weight is model.shared.weight is model.encoder.embed_tokens.weight
        return dict(model.named_parameters())

    for (name, plain), scaled in zip(drawn(1, 1).items(), drawn(table, layers).values(), strict=True):
        factor = 1.0 if plain.ndim == 1 else table if name == "shared.weight" else layers
        torch.testing.assert_close(scaled, plain * factor)


def test_a_finished_training_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that is stopped while it ranks starts over, and must not train again."""
    first, before = fitted(tmp_path)
    monkeypatch.setattr(training, "_epoch", lambda *given: pytest.fail("it trained again"))
    again, after = fitted(tmp_path)
    assert after.curve == before.curve
    for a, b in zip(first.network_.parameters(), again.network_.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(step: int, total: int, values: Any) -> None:
        if values and step * 3 == total * 2:  # after the second of three epochs, whose checkpoint is written
            raise KilledError

    data = checkerboard(n_items=6, n_users=12)
    params: dict[str, Any] = {**TINY, "dropout": 0.2, "epochs": 3, "tasks": BOTH}
    contexts = [Context(0, "cpu", tmp_path / name) for name in ("whole", "killed", "killed")]
    contexts[1].on_progress = kill
    whole, killed, resumed = (Gen(**params) for _ in range(3))
    whole.fit(data.train, data.valid, contexts[0])
    with pytest.raises(KilledError):
        killed.fit(data.train, data.valid, contexts[1])
    trained: list[int] = []
    contexts[2].on_progress = lambda step, total, values: None if values else trained.append(step * 3 > total * 2)
    resumed.fit(data.train, data.valid, contexts[2])
    assert trained
    assert all(trained), "only the third epoch is trained again"
    for task in TASKS:
        a, b = (m.rank(data.test[task].requests, 5) for m in (whole, resumed))
        np.testing.assert_array_equal(a.items, b.items)
        np.testing.assert_array_equal(a.scores, b.scores)
    assert contexts[0].curve == contexts[2].curve
    assert contexts[0].facts == contexts[2].facts


def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path: Path) -> None:
    def kill(step: int, total: int, values: Any) -> None:
        if values:
            raise KeyboardInterrupt

    data = checkerboard(n_items=6, n_users=12)
    with pytest.raises(KeyboardInterrupt):
        Gen(**TINY, epochs=3).fit(data.train, data.valid, Context(0, "cpu", tmp_path, on_progress=kill))
    context = Context(0, "cpu", tmp_path)
    Gen(**TINY, epochs=1).fit(data.train, data.valid, context)
    assert len(context.curve) == 1


def test_a_checkpoint_of_another_model_is_not_taken_up(tmp_path: Path) -> None:
    def kill(step: int, total: int, values: Any) -> None:
        if values:
            raise KeyboardInterrupt

    data = checkerboard(n_items=6, n_users=12)
    params = {**TINY, "epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        Gen(**params).fit(data.train, data.valid, Context(0, "cpu", tmp_path, on_progress=kill))
    trained: list[int] = []
    context = Context(0, "cpu", tmp_path, on_progress=lambda step, total, values: trained.append(step * 2 <= total))
    Gen(**{**params, "heads": 4}).fit(data.train, data.valid, context)  # its weights have almost the same shapes
    assert any(trained), "the first epoch is trained, too"


def test_loss_that_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="Lower `learning_rate`"):
        fitted(tmp_path, learning_rate=1e30, epochs=30)


@pytest.mark.parametrize("validated", [True, False])
def test_weights_that_are_no_numbers_after_the_last_update(tmp_path: Path, validated: bool) -> None:
    data = checkerboard(n_items=6, n_users=12)
    model = Gen(**{**TINY, "batch_size": 1000, "epochs": 1, "warmup": 0.0, "learning_rate": 1e39})  # a single step
    with pytest.raises(BenchmarkError, match=r"a weight is not a number after 1 steps.*`learning_rate`"):
        model.fit(data.train, data.valid if validated else {}, Context(0, "cpu", tmp_path))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tasks": []}, "'tasks' must be .* at least 1 item"),
        ({"epochs": 0}, "'epochs' must be int of at least 1, got 0"),
        ({"epochs": 4, "steps": 3}, "`steps` is 3; it must be at least `epochs`, 4"),
        ({"dropout": 1.0}, "'dropout' must be float from 0 to below 1, got 1.0"),
        ({"d_model": 66}, "cannot be divided among 4 `heads`"),
        ({"beams": 30, "groups": 4}, "30 `beams` cannot be divided into 4"),
    ],
)
def test_wrong_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        build(load().models["gen"], params)


def test_rank_before_fit_and_for_a_task_not_trained(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        Gen().rank(requests(1), 5)
    model, _ = fitted(tmp_path)
    model.tasks = frozenset({"recommendation"})
    with pytest.raises(BenchmarkError, match="add search to `tasks`"):
        model.rank(requests(1), 5)


def test_nothing_to_train_on(tmp_path: Path) -> None:
    data = checkerboard(tasks=["recommendation"])
    with pytest.raises(BenchmarkError, match="no training pair for search"):
        Gen(tasks=frozenset({"search"})).fit(data.train, {}, Context(0, "cpu", tmp_path))


# Tokens


def test_words_survive_the_round_trip_and_items_have_tokens_of_their_own() -> None:
    words = train_words(["Sci-Fi 1990s", "children's Drama", "drama"])
    assert sorted(words.get_vocab()) == ["1990s", "</s>", "<pad>", "<unk>", "children's", "drama", "sci-fi"]
    vocabulary = Vocabulary(words, words.get_vocab_size(), items=3)
    text = vocabulary.text(["Drama, 1990s!", "western", ""], limit=8)
    assert [words.decode(text[i].tolist(), skip_special_tokens=False) for i in range(3)] == ["drama 1990s", "<unk>", ""]
    histories = vocabulary.histories(Ragged.from_rows([[2, 0, 1]]), limit=2)
    tokens, mask = histories.batch(torch.tensor([0]), pad=0, eos=1)
    assert tokens.tolist() == [[7, 8, 1]], "the newest two items, behind the seven words, then the end"
    assert mask.tolist() == [[1, 1, 1]]


def test_words_of_every_script_have_tokens() -> None:
    texts = ["手机壳", "ラーメン", "كتاب الطبخ", "Bücher über Kochen"]
    tokenizer = train_words(texts)
    found = encode(tokenizer, ["手机", "ラーメン", "كتاب", "ÜBER bücher", "Bucher"], limit=3)
    assert [[tokenizer.id_to_token(token) for token in found[i]] for i in range(5)] == [
        ["手机"], ["ラー", "ーメ", "メン"], ["كتاب"], ["über", "bücher"], ["<unk>"],
    ]  # fmt: skip


def test_every_word_has_a_token() -> None:
    assert train_words([f"word{i}" for i in range(30_010)]).get_vocab_size() == 30_013


def test_sequences_are_cut_and_padded() -> None:
    a = Sequences(torch.tensor([5, 6, 7]), torch.tensor([0, 0]), torch.tensor([1, 3]))
    b = Sequences(torch.tensor([9]), torch.tensor([0, 1]), torch.tensor([1, 0]))
    tokens, mask = concat([a, b]).batch(torch.tensor([1, 2, 3]), pad=0, eos=1)
    assert tokens.tolist() == [[5, 6, 7, 1], [9, 1, 0, 0], [1, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]


def test_batches_hold_every_pair_once_or_balanced() -> None:
    settings = TrainSettings(1, 4, 1e-3, 0.0, 1, 0.0, "fp32", "concat")
    length = torch.tensor([3, 1, 2, 3, 1, 2, 3, 1, 9, 9])
    rows = batches(length, [8, 2], settings, seed=0, epoch=0)
    assert sorted(torch.cat(rows).tolist()) == list(range(10))
    balanced = torch.cat(batches(length, [8, 2], dataclasses.replace(settings, mixing="balanced"), seed=0, epoch=0))
    assert np.bincount(balanced).tolist() == [1] * 8 + [4, 4]
    assert [r.tolist() for r in rows] == [r.tolist() for r in batches(length, [8, 2], settings, seed=0, epoch=0)]
    assert [r.tolist() for r in rows] != [r.tolist() for r in batches(length, [8, 2], settings, seed=0, epoch=1)]


@pytest.mark.parametrize(
    ("sizes", "given"),
    [
        ([6400, 640], {"mixing": "balanced"}),
        ([6400, 640], {"mixing": "concat"}),
        ([3000, 1000, 500], {"shares": (1.0, 0.3, 2.0)}),
    ],
)
def test_batches_mix_tasks_of_different_lengths_and_still_group_by_length(sizes: list[int], given: Any) -> None:
    """Where short inputs are one task, sorting all together would make batches of a single task."""
    settings = dataclasses.replace(TrainSettings(1, 64, 1e-3, 0.0, 1, 0.0, "fp32"), **given)
    rng = np.random.default_rng(0)
    mean = [40, 4, 12]  # 10:1, and one between
    length = torch.from_numpy(
        np.concatenate([rng.integers(m // 2, 2 * m, n) for m, n in zip(mean, sizes, strict=False)])
    )
    source = np.repeat(np.arange(len(sizes)), sizes)
    rows = [batch.numpy() for batch in batches(length, sizes, settings, seed=0, epoch=0)]
    share = np.bincount(source[np.concatenate(rows)]) / sum(map(len, rows))
    each = np.array([np.bincount(source[batch], minlength=len(sizes)) / len(batch) for batch in rows])
    assert (abs(each - share) <= share / 3).all(1).mean() >= 0.95
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
    first = [length[batch[source[batch] == 0]].double() for batch in rows]
    assert np.mean([lengths.std() for lengths in first]) < 0.2 * float(length[: sizes[0]].double().std())


# Decoding


def test_exact_honours_exclude_candidates_and_short_lists() -> None:
    scores = torch.tensor([[-1.0, -2.0, -3.0, -4.0]] * 2)
    ranking = decoding.exact(scores, requests(2, exclude=[[0], []], candidates=[[0, 2, 3], [1]]), 3)
    assert ranking.items.tolist() == [[2, 3, PAD], [1, PAD, PAD]]
    assert ranking.scores.tolist() == [[-3.0, -4.0, -np.inf], [-2.0, -np.inf, -np.inf]]


def test_scores_that_are_no_numbers() -> None:
    scores = torch.tensor([[-1.0, float("nan"), -3.0]])
    with pytest.raises(ContractError, match="the scores hold NaN"):
        decoding.exact(scores, requests(1), 2)
    with pytest.raises(ContractError, match="the scores hold NaN"):
        decoding.diverse_beam(scores, requests(1), 2, 2, 2, 0.25)


def test_exact_is_top_k_also_in_ties() -> None:
    from benchmark import top_k

    scores = torch.randint(0, 4, (50, 20), generator=torch.Generator().manual_seed(0)).float()
    asked = requests(50, exclude=[[i % 20, 3] for i in range(50)])
    ours, reference = decoding.exact(scores, asked, 7), top_k(scores.numpy().copy(), asked, 7)
    np.testing.assert_array_equal(ours.items, reference.items)
    np.testing.assert_array_equal(ours.scores, reference.scores)


def literal_group_beam_search(scores: list[float], beams: int, groups: int, penalty: float) -> list[tuple[float, int]]:
    """One step of transformers 4's group beam search, request by request: distinct (score, item), best first."""
    chosen: list[int] = []
    hypotheses: list[tuple[float, int]] = []
    for _ in range(groups):
        left = [(score - penalty * chosen.count(item), item) for item, score in enumerate(scores)]
        best = sorted(left, key=lambda pair: -pair[0])[: beams // groups]
        chosen += [item for _, item in best]
        hypotheses += best
    distinct: dict[int, float] = {}
    for score, item in sorted(hypotheses, key=lambda pair: -pair[0]):
        distinct.setdefault(item, score)
    return [(score, item) for item, score in distinct.items()]


def test_diverse_beam_by_hand() -> None:
    # Groups of one: 0 (-1.0); then 0 would cost -1.25 and 1 costs -1.1: 1; then 0 again (-1.25); then 1 (-1.35).
    ranking = decoding.diverse_beam(torch.tensor([[-1.0, -1.1, -1.4, -9.0]]), requests(1), 4, 4, 4, 0.25)
    assert ranking.items.tolist() == [[0, 1, PAD, PAD]]


def test_diverse_beam_equals_the_literal_one() -> None:
    scores = torch.randn(40, 50, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    ranking: Ranking = decoding.diverse_beam(scores, requests(40), 12, 12, 6, 0.25)
    counts = set()
    for row, items, values in zip(scores.tolist(), ranking.items, ranking.scores, strict=True):
        expected = literal_group_beam_search(row, beams=12, groups=6, penalty=0.25)
        assert items[items != PAD].tolist() == [item for _, item in expected]
        np.testing.assert_allclose(values[items != PAD], [score for score, _ in expected], rtol=1e-6)
        counts.add(len(expected))
    assert max(counts) < 12, "what earlier groups chose is chosen again"


# T5 with more tokens


def tiny_t5(folder: Path, *, tied: bool) -> Path:
    """A T5 checkpoint of nine rows as a hub would serve it: flan-t5 has a head of its own, the first T5 does not."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=9, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0,
        feed_forward_proj="relu" if tied else "gated-gelu",
    )  # fmt: skip
    config.tie_word_embeddings = tied
    config.scale_decoder_outputs = tied
    model = transformers.T5ForConditionalGeneration(config)
    if not tied:
        torch.nn.init.normal_(model.lm_head.weight, std=0.05)
    model.save_pretrained(folder)
    words = train_words(["green apple", "small zebra"])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_keep_the_head_of_a_checkpoint(tmp_path: Path, tied: bool) -> None:
    model, words = t5.from_checkpoint(str(tiny_t5(tmp_path / "small", tied=tied)))
    inputs, head = model.shared.weight.detach().clone(), model.lm_head.weight.detach().clone()
    assert torch.equal(inputs, head) == tied
    assert t5.add_tokens(model, 3, torch.Generator().manual_seed(0)) == 9
    model.save_pretrained(tmp_path / "wide")
    loaded = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "wide")
    for wide in (model, loaded):
        assert wide.shared.weight.shape == wide.lm_head.weight.shape == (12, 8)
        assert torch.equal(wide.shared.weight[:9], inputs)
        assert torch.equal(wide.lm_head.weight[:9], head)
        assert torch.equal(wide.shared.weight, wide.lm_head.weight) == tied
        assert wide.config.scale_decoder_outputs == tied
    rows = model.lm_head.weight[9:]
    assert len({tuple(row.tolist()) for row in rows}) == 3, "new tokens do not all start alike"
    assert words.decode(encode(words, ["Green zebra"], 8)[0].tolist()) == "green zebra"


def test_a_checkpoint_saved_in_half_precision_is_loaded_in_full(tmp_path: Path) -> None:
    folder = tiny_t5(tmp_path, tied=False)
    half = transformers.T5ForConditionalGeneration.from_pretrained(folder).to(torch.bfloat16)
    half.save_pretrained(folder)
    model, _ = t5.from_checkpoint(str(folder))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.shared.weight, half.shared.weight.float(), atol=0, rtol=0)


def test_fit_from_a_checkpoint(tmp_path: Path) -> None:
    folder = tiny_t5(tmp_path / "t5", tied=False)
    model, _ = fitted(tmp_path / "work", checkpoint=str(folder))
    assert model.vocabulary_.first_item == 9
    assert model.network_.lm_head.weight.data_ptr() != model.network_.shared.weight.data_ptr()
    assert sorted(model.rank(requests(1), 7).items[0].tolist()) == list(range(7))


def test_a_checkpoint_that_cannot_be_had(tmp_path: Path) -> None:
    missing = tmp_path / "flan-t5-base"
    with pytest.raises(BenchmarkError, match=r"flan-t5-base' cannot be loaded.*config.json.*set `checkpoint: FOLDER`"):
        t5.from_checkpoint(str(missing))
    transformers.BertConfig(hidden_size=8, num_attention_heads=2).save_pretrained(missing)
    with pytest.raises(BenchmarkError, match="is a bert model; a T5 is needed"):
        t5.from_checkpoint(str(missing))
