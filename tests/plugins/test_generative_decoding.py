"""Constrained decoding gives what scoring every item gives, and what transformers' generate gives."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from benchmark import PAD, BenchmarkError, ContractError, Ragged, tie_break

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from benchmark_generative import beam_search as module  # noqa: E402
from benchmark_generative import t5  # noqa: E402
from benchmark_generative.beam_search import beam_search, sample, score_candidates, unconstrained  # noqa: E402
from benchmark_generative.noise import tie  # noqa: E402
from benchmark_generative.trie import Trie  # noqa: E402

DATA = Path(os.environ.get("BENCHMARK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
VOCABULARY = 24
SHAPES = [2**24, 0]
"""Dense limits: every level a table, every level a list."""


def network(kind: str = "t5", vocabulary: int = VOCABULARY, seed: int = 0) -> Any:
    """A small T5 with weights large enough that the scores of items are far apart, in eval mode."""
    torch.manual_seed(seed)
    model = t5.from_scratch(vocabulary, 32, 48, heads=4, layers=2, decoder_layers=2, dropout=0.1).eval()
    if kind == "flan":  # gated, a head of its own, outputs not scaled
        config = transformers.T5Config(
            vocab_size=vocabulary, d_model=32, d_kv=8, d_ff=48, num_heads=4, num_layers=2, decoder_start_token_id=0,
            feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        )  # fmt: skip
        model = transformers.T5ForConditionalGeneration(config).eval()
        model.lm_head.weight = torch.nn.Parameter(torch.randn(vocabulary, 32) * 0.3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)  # else norms would be scales of 1
        model.shared.weight.mul_(3)
    return model


def inputs(lengths: tuple[int, ...] = (12, 3, 7, 1, 20)) -> tuple[Any, Any]:
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    tokens = torch.randint(2, VOCABULARY, mask.shape, generator=torch.Generator().manual_seed(1))
    return tokens * mask, mask


def catalogue(n: int = 60, levels: int = 3, codes: int = 7) -> NDArray[np.int64]:
    """Token ids (n, levels) of items in no order, each level with tokens of its own."""
    rng = np.random.default_rng(2)
    chosen = rng.permutation(codes**levels)[:n]
    return np.stack([chosen // codes**level % codes + 2 + codes * level for level in range(levels)], axis=1)


def several_lengths() -> Ragged:
    """21 items: 7 of one token 2..8 but for 3 and 4, under which hang those of two and three."""
    rows = [[t] for t in (8, 2, 5, 6, 7)]
    rows += [[3, t] for t in (9, 20, 11, 12)] + [[4, t] for t in (9, 13)]
    rows += [[4, 2, t] for t in (2, 3, 4, 5, 23)] + [[3, 10, t] for t in (16, 17, 18, 19, 21)]
    return Ragged.from_rows(rows)


def exhaustive(model: Any, tokens: Any, mask: Any, sequences: NDArray[np.int64] | Ragged, allowed: Any = None) -> Any:
    """Log-likelihoods (B, N) of all items by transformers' forward pass; `allowed` (N, L, V) are the tokens over which
    probabilities add up to one, by default all."""
    rows = sequences if isinstance(sequences, Ragged) else Ragged.from_rows(sequences)
    width = int(rows.lengths.max())
    labels = torch.as_tensor(rows.padded(width, pad=0)).long()
    written = torch.as_tensor(np.arange(width) < rows.lengths[:, None])
    before = torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1]], 1)
    scores = []
    for i in range(len(tokens)):
        given = {"input_ids": tokens[i : i + 1], "attention_mask": mask[i : i + 1]}
        expanded = {name: x.expand(len(rows), -1) for name, x in given.items()}
        with torch.inference_mode():
            logits = model(**expanded, decoder_input_ids=before).logits
            likelihood = (logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)).log_softmax(-1)
        scores.append((likelihood.gather(2, labels[..., None])[..., 0] * written).sum(1))
    return torch.stack(scores)


def generated(model: Any, tokens: Any, mask: Any, beams: int, length: int, **options: Any) -> tuple[Any, Any]:
    """Sequences (B, M, L) and scores (B, M) by transformers' beam search, no token ending a sequence."""
    with torch.inference_mode():
        found = model.generate(
            input_ids=tokens, attention_mask=mask, num_beams=beams, num_return_sequences=beams, max_new_tokens=length,
            do_sample=False, length_penalty=0.0, eos_token_id=-1, return_dict_in_generate=True, output_scores=True,
            **options,
        )  # fmt: skip
    return found.sequences[:, 1:].reshape(len(tokens), beams, length), found.sequences_scores.reshape(-1, beams)


def assert_same(found: tuple[Any, Any], items: Any, scores: Any) -> None:
    np.testing.assert_array_equal(found[0].numpy(), np.asarray(items))
    np.testing.assert_allclose(found[1].numpy(), np.asarray(scores), atol=1e-4)


def best(scores: Any, m: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The m best of (B, N), -1 and -inf behind the finite ones."""
    values, items = scores.sort(1, descending=True)
    values, items = values[:, :m].numpy(), items[:, :m].numpy()
    short = ((0, 0), (0, m - items.shape[1]))
    items = np.where(values == -np.inf, PAD, items)
    return np.pad(items, short, constant_values=PAD), np.pad(values, short, constant_values=-np.inf)


@pytest.mark.parametrize("limit", SHAPES)
def test_trie(limit: int) -> None:
    trie = Trie.build(np.array([[5, 9], [4, 7], [5, 7], [5, 8]]), dense_limit=limit)
    first, second = trie.levels
    assert (trie.depth, trie.nodes, trie.tokens, len(trie)) == (2, 6, 10, 4)
    root, _ = first.children(torch.tensor([0]))
    assert root.tolist() == [[0, 1]]  # 4, 5
    child, _ = second.children(torch.tensor([1, 0]))
    assert [[second.item[c].item() for c in row if c >= 0] for row in child] == [[2, 3, 0], [1]]
    written = torch.tensor([[[5, 9], [4, 7]], [[4, 8], [5, 6]], [[3, 7], [0, 99]]])
    assert trie.lookup(written).tolist() == [[0, 1], [-1, -1], [-1, -1]]


def test_trie_of_several_lengths() -> None:
    trie = Trie.build(Ragged.from_rows([[3, 1], [2], [3, 2, 4]]))
    assert trie.paths.tolist() == [[0, 1, -1], [1, -1, -1], [0, 0, 0]]
    assert [level.inner for level in trie.levels] == [1, 1, 0]
    assert trie.lookup(torch.tensor([[3, 1], [2, 2], [3, 2]])).tolist() == [0, -1, -1]
    assert trie.lookup(torch.tensor([[3, 1, 1], [3, 2, 4]])).tolist() == [-1, 2]
    assert trie.lookup(torch.tensor([[2], [3]])).tolist() == [1, -1]
    assert trie.lookup(torch.tensor([[3, 2, 4, 4]])).tolist() == [-1]


def test_a_large_level_is_a_list_by_itself() -> None:
    trie = Trie.build(catalogue(), dense_limit=100)
    assert [level.start is None for level in trie.levels] == [True, True, False]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1, 2], [3, 4], [1, 2]], "items 0 and 2 have the same token sequence"),
        ([[1, 2, 3], [4], [1, 2]], "the token sequence of item 2 is the beginning of that of item 0"),
        ([[1], []], "item 1 has an empty token sequence"),
        ([[1], [-2]], "negative"),
        ([], "needs at least one item"),
    ],
)
def test_sequences_that_cannot_be_told_apart(rows: list[list[int]], words: str) -> None:
    with pytest.raises(BenchmarkError, match=words):
        Trie.build(Ragged.from_rows(rows))


@pytest.mark.parametrize("limit", SHAPES)
@pytest.mark.parametrize("kind", ["t5", "flan"])
@pytest.mark.parametrize("sequences", [catalogue(), several_lengths()], ids=["equal", "several"])
def test_a_wide_beam_ranks_the_whole_catalogue(kind: str, limit: int, sequences: Any) -> None:
    model, (tokens, mask) = network(kind), inputs()
    wanted = best(exhaustive(model, tokens, mask, sequences), 70)
    assert_same(beam_search(model, tokens, mask, Trie.build(sequences, dense_limit=limit), beams=70), *wanted)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_trie_and_any_limits(data: st.DataObject) -> None:
    word = st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=4)
    words = data.draw(st.lists(word, min_size=1, max_size=25))
    words = [w for w in words if not any(w == v[: len(w)] and w != v for v in words)]  # none begins another
    sequences = Ragged.from_rows([list(w) for w in dict.fromkeys(map(tuple, words))])
    n = len(sequences)
    rows = st.lists(st.lists(st.integers(0, n - 1), max_size=n), min_size=5, max_size=5)
    exclude = Ragged.from_rows(data.draw(rows))
    candidates = data.draw(st.none() | rows.map(Ragged.from_rows))
    model, (tokens, mask) = network(seed=data.draw(st.integers(0, 3))), inputs()
    scores = exhaustive(model, tokens, mask, sequences)
    np.testing.assert_allclose(
        score_candidates(model, tokens, mask, sequences, exclude).numpy(),
        scores[exclude.rows, exclude.values].numpy(),
        atol=1e-4,
    )
    if candidates is not None:
        only = torch.full_like(scores, -torch.inf)
        only[candidates.rows, candidates.values] = scores[candidates.rows, candidates.values]
        scores = only
    scores[exclude.rows, exclude.values] = -torch.inf
    trie = Trie.build(sequences, dense_limit=data.draw(st.sampled_from([*SHAPES, 20])))
    found = beam_search(model, tokens, mask, trie, beams=n, exclude=exclude, candidates=candidates)
    assert_same(found, *best(scores, n))


@pytest.mark.parametrize("limit", SHAPES)
@pytest.mark.parametrize("kind", ["t5", "flan"])
def test_the_same_beams_as_transformers(kind: str, limit: int) -> None:
    model, (tokens, mask), sequences = network(kind), inputs(), catalogue()
    follow: dict[tuple[int, ...], list[int]] = {}
    for sequence in sequences.tolist():
        for end in range(3):
            follow.setdefault(tuple(sequence[:end]), []).append(sequence[end])
    written, scores = generated(
        model, tokens, mask, 6, 3, prefix_allowed_tokens_fn=lambda batch, sent: follow[tuple(sent.tolist()[1:])]
    )
    trie = Trie.build(sequences, dense_limit=limit)
    assert_same(beam_search(model, tokens, mask, trie, beams=6), trie.lookup(written), scores)


def test_unconstrained_as_transformers() -> None:
    model, (tokens, mask) = network("flan"), inputs()
    trie = Trie.build(np.stack(np.meshgrid(np.arange(12), np.arange(24)), -1).reshape(-1, 2))  # half of all pairs
    written, scores = generated(model, tokens, mask, 8, 2)
    items, found = unconstrained(model, tokens, mask, trie, beams=8)
    assert_same((items, found), trie.lookup(written), scores)
    assert 0 < (items == -1).float().mean() < 1
    assert (unconstrained(model, tokens, mask, trie, beams=8, length=3)[0] == -1).all()


def test_what_is_excluded_takes_no_beam() -> None:
    model, (tokens, mask), sequences = network(), inputs(), catalogue()
    trie = Trie.build(sequences)
    first, _ = beam_search(model, tokens, mask, trie, beams=1)
    under = [np.flatnonzero(sequences[:, 0] == sequences[item, 0]) for item in first[:, 0].tolist()]
    second, scores = beam_search(model, tokens, mask, trie, beams=1, exclude=Ragged.from_rows(under))
    assert (second >= 0).all()
    assert (sequences[second[:, 0], 0] != sequences[first[:, 0], 0]).all()
    assert (scores > -torch.inf).all()


def test_candidates_without_any_item() -> None:
    model, (tokens, mask) = network(), inputs()
    candidates = Ragged.from_rows([[], [3], [3, 3, 4], [5], []])
    exclude = Ragged.from_rows([[], [3], [], [4], [1]])
    found, scores = beam_search(
        model, tokens, mask, Trie.build(catalogue()), beams=2, candidates=candidates, exclude=exclude
    )
    assert [sorted(row) for row in found.tolist()] == [[-1, -1], [-1, -1], [3, 4], [-1, 5], [-1, -1]]
    assert ((found == -1) == (scores == -torch.inf)).all()


@pytest.mark.parametrize("together", [128, 3])
@pytest.mark.parametrize("sequences", [catalogue(), several_lengths()], ids=["equal", "several"])
def test_exact_scores_of_candidates(together: int, sequences: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER", together)
    model, (tokens, mask) = network("flan"), inputs()
    rng = np.random.default_rng(0)
    candidates = Ragged.from_rows([rng.integers(0, len(sequences), k) for k in (4, 0, 30, 1, 9)])
    found = score_candidates(model, tokens, mask, sequences, candidates, pairs=10)
    wanted = exhaustive(model, tokens, mask, sequences)[candidates.rows, candidates.values]
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=1e-4)
    assert score_candidates(model, tokens, mask, sequences, Ragged.empty(5)).shape == (0,)


@pytest.mark.parametrize("limit", SHAPES)
def test_a_request_does_not_depend_on_its_batch(limit: int) -> None:
    model, (tokens, mask), trie = network(), inputs(), Trie.build(catalogue(), dense_limit=limit)
    keys = np.arange(5, dtype=np.uint64)
    exclude = Ragged.from_rows([[i, i + 1] for i in range(5)])
    items, scores = beam_search(model, tokens, mask, trie, beams=5, exclude=exclude, keys=keys)
    drawn, noise = sample(model, tokens, mask, trie, k=5, temperature=1.5, seed=3, keys=keys, exclude=exclude)
    for i in (0, 3, 4):
        row, length = slice(i, i + 1), int(mask[i].sum())
        alone: dict[str, Any] = {
            "tokens": tokens[row, :length],
            "mask": mask[row, :length],
            "trie": trie,
            "keys": keys[row],
        }
        found = beam_search(model, **alone, beams=5, exclude=exclude.take([i]))
        assert_same(found, items[row], scores[row])
        found = sample(model, **alone, k=5, temperature=1.5, seed=3, exclude=exclude.take([i]))
        assert_same(found, drawn[row], noise[row])


def test_padding_may_be_before_and_what_stands_there_is_not_read() -> None:
    model, trie = network(), Trie.build(catalogue())
    tokens = torch.tensor([[5, 6, 7, 0, 0], [9, 9, 4, 5, 6]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    assert_same(
        beam_search(model, tokens, mask, trie, beams=60), *best(exhaustive(model, tokens, mask, catalogue()), 60)
    )


def test_equal_scores_are_ordered_by_the_tie_break() -> None:
    model, (tokens, mask) = network(), inputs()
    model.lm_head.weight = torch.nn.Parameter(torch.zeros(VOCABULARY, 32))  # every token is as likely as any other
    keys = np.array([3, 2**64 - 1, 5, 0, 2**63], dtype=np.uint64)
    order = np.array([np.argsort(tie_break(key, np.arange(20))) for key in keys])
    for limit in SHAPES:
        trie = Trie.build(np.arange(2, 22)[:, None], dense_limit=limit)
        items, scores = beam_search(model, tokens, mask, trie, beams=7, keys=keys)
        np.testing.assert_array_equal(items.numpy(), order[:, :7])
        np.testing.assert_allclose(scores.numpy(), -np.log(VOCABULARY), atol=1e-5)
    deep = [
        beam_search(model, tokens, mask, Trie.build(catalogue(), dense_limit=x), beams=7, keys=keys)[0] for x in SHAPES
    ]
    np.testing.assert_array_equal(deep[0].numpy(), deep[1].numpy())
    words = tie(torch.as_tensor(keys.view(np.int64))[:, None], torch.arange(20)[None])
    np.testing.assert_array_equal(words.argsort(1).numpy(), order)


def test_bf16() -> None:
    model, (tokens, mask), trie = network(), inputs(), Trie.build(catalogue())
    items, scores = beam_search(model, tokens, mask, trie, beams=60, precision="bf16")
    assert [sorted(row) for row in items.tolist()] == [list(range(60))] * 5
    exact = exhaustive(model, tokens, mask, catalogue()).gather(1, items.long())
    assert (scores - exact).abs().max() < 0.5
    assert (scores - exact).abs().mean() < 0.1


def test_sampling_at_a_low_temperature_takes_the_likeliest() -> None:
    model, (tokens, mask), sequences = network(), inputs(), catalogue()
    trie, keys = Trie.build(sequences), np.arange(5, dtype=np.uint64)
    drawn, _ = sample(model, tokens, mask, trie, k=6, temperature=1e-4, seed=0, keys=keys)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight * 1e4)
    allowed = torch.zeros(*sequences.shape, VOCABULARY, dtype=torch.bool)  # what an item's tree has at its prefix
    for item, row in enumerate(sequences):
        for level in range(len(row)):
            beside = sequences[(sequences[:, :level] == row[:level]).all(1)]
            allowed[item, level, beside[:, level]] = True
    likelihood = exhaustive(model, tokens, mask, sequences, allowed)
    np.testing.assert_array_equal(drawn.numpy(), likelihood.argsort(1, descending=True)[:, :6].numpy())


def test_samples_follow_the_model_without_replacement() -> None:
    n, temperature = 4000, 8.0
    model, sequences = network(seed=1), Ragged.from_rows([[2], [3, 4], [3, 5], [6, 7]])
    tokens, mask = inputs((4,))
    rows = tokens.expand(n, -1), mask.expand(n, -1)
    keys = np.arange(n, dtype=np.uint64)
    exclude = Ragged.from_rows([[3]] * n)  # nothing below token 6 is left
    with torch.inference_mode():
        given = {"input_ids": tokens.expand(2, -1), "attention_mask": mask.expand(2, -1)}
        logits = model(**given, decoder_input_ids=torch.tensor([[0, 3], [0, 3]])).logits[0] / temperature
    first, second = logits[0, [2, 3]].softmax(0).tolist(), logits[1, [4, 5]].softmax(0).tolist()
    p = np.array([first[0], first[1] * second[0], first[1] * second[1]])
    p /= p.sum()  # of float32
    assert p.min() > 0.05
    options: dict[str, Any] = {"k": 4, "temperature": temperature, "keys": keys, "exclude": exclude}
    items, scores = (x.numpy() for x in sample(model, *rows, Trie.build(sequences), seed=7, **options))
    assert (np.sort(items, axis=1) == [-1, 0, 1, 2]).all()
    assert (np.diff(scores[:, :3]) <= 0).all()
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    seen = np.array([np.sum((items[:, 0] == a) & (items[:, 1] == b)) for a, b in pairs])
    wanted = np.array([p[a] * p[b] / (1 - p[a]) for a, b in pairs])
    assert chisquare(seen, n * wanted).pvalue > 0.01
    assert chisquare(np.bincount(items[:, 0], minlength=3), n * p).pvalue > 0.01
    again = sample(model, *rows, Trie.build(sequences, dense_limit=0), seed=7, **options)[0]
    np.testing.assert_array_equal(items, again.numpy())
    assert (items != sample(model, *rows, Trie.build(sequences), seed=8, **options)[0].numpy()).any()


def test_mistakes_are_named() -> None:
    model, (tokens, mask), trie = network(), inputs(), Trie.build(catalogue())
    keys = np.arange(5, dtype=np.uint64)
    with pytest.raises(BenchmarkError, match="`exclude` has 2 rows for 5 requests"):
        beam_search(model, tokens, mask, trie, beams=3, exclude=Ragged.empty(2))
    with pytest.raises(BenchmarkError, match=r"`candidates` names an item outside 0\.\.59"):
        beam_search(model, tokens, mask, trie, beams=3, candidates=Ragged.from_rows([[60]] * 5))
    with pytest.raises(BenchmarkError, match="there are 4 keys for 5 requests"):
        beam_search(model, tokens, mask, trie, beams=3, keys=keys[:4])
    with pytest.raises(BenchmarkError, match="at least 1"):
        beam_search(model, tokens, mask, trie, beams=0)
    with pytest.raises(BenchmarkError, match="above 0"):
        sample(model, tokens, mask, trie, k=3, temperature=0.0, seed=0, keys=keys)
    with pytest.raises(BenchmarkError, match="token 24, but the model's vocabulary ends at 23"):
        beam_search(model, tokens, mask, Trie.build(np.array([[24]])), beams=3)
    with torch.no_grad():
        model.shared.weight[5] = torch.nan
    with pytest.raises(ContractError, match="NaN"):
        beam_search(model, tokens, mask, trie, beams=3)
    with pytest.raises(ContractError, match="NaN"):
        score_candidates(model, tokens, mask, catalogue(), Ragged.from_rows([[1]] * 5))


def test_no_requests() -> None:
    model, trie = network(), Trie.build(catalogue())
    none = torch.zeros(0, 4, dtype=torch.int64)
    assert beam_search(model, none, none, trie, beams=3)[0].shape == (0, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("limit", SHAPES)
def test_cuda(limit: int) -> None:
    model, (tokens, mask), trie = network(), inputs(), Trie.build(catalogue(), dense_limit=limit)
    keys, exclude = np.arange(5, dtype=np.uint64), Ragged.from_rows([[i] for i in range(5)])
    wanted = beam_search(model, tokens, mask, trie, beams=70, exclude=exclude)
    scores = exhaustive(model, tokens, mask, catalogue())
    model, tokens, mask = model.cuda(), tokens.cuda(), mask.cuda()
    found = beam_search(model, tokens, mask, trie, beams=70, exclude=exclude)
    assert found[0].is_cuda
    assert_same((found[0].cpu(), found[1].cpu()), *wanted)
    items, _ = beam_search(model, tokens, mask, trie, beams=60, precision="bf16")
    assert (items.sort(1).values.cpu() == torch.arange(60)).all()
    drawn, _ = sample(model, tokens, mask, trie, k=5, temperature=1.0, seed=0, keys=keys)
    assert len(set(drawn[0].tolist())) == 5
    unconstrained(model, tokens, mask, trie, beams=4)
    exact = score_candidates(model, tokens, mask, catalogue(), exclude)
    np.testing.assert_allclose(exact.cpu().numpy(), scores[exclude.rows, exclude.values].numpy(), atol=1e-4)


BEAUTY = DATA / "amazon14" / "Beauty" / "semantic_ids" / "rqvae_3x256_plus_dedup.tsv.gz"


@pytest.mark.skipif(not BEAUTY.exists(), reason=f"{BEAUTY} is absent")
def test_published_identifiers_of_beauty() -> None:
    pd = pytest.importorskip("pandas")
    codes = np.array(pd.read_csv(BEAUTY, sep="\t")["codes"].str.split().tolist(), dtype=np.int64)
    assert codes.shape == (12_101, 4)
    sequences = codes + 2 + 256 * np.arange(4)
    start = time.perf_counter()
    trie = Trie.build(sequences)
    assert time.perf_counter() - start < 1
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=2 + 4 * 256, d_model=128, d_kv=64, d_ff=1024, num_heads=6, num_layers=4, decoder_start_token_id=0
    )
    model = transformers.T5ForConditionalGeneration(config).eval()
    tokens = torch.as_tensor(sequences[np.random.default_rng(0).integers(0, len(codes), (8, 20))].reshape(8, 80))
    items, scores = (x.numpy() for x in beam_search(model, tokens, torch.ones_like(tokens), trie, beams=30))
    assert ((items >= 0) & (items < 12_101)).all()
    assert all(len(set(row)) == 30 for row in items.tolist())
    assert (np.diff(scores) <= 0).all()
    assert np.isfinite(scores).all()
