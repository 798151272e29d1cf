"""Joint identifiers: quantisation and losses by hand, codes that are shared and unique, files, and what is refused."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from benchmark_generative.identifiers import (  # noqa: E402
    Identifiers,
    JointIdentifiers,
    JointSettings,
    cached,
    make_joint,
    make_pair,
)
from benchmark_generative.identifiers.autoencoder import start_codebooks  # noqa: E402
from benchmark_generative.identifiers.collisions import nearest_free  # noqa: E402
from benchmark_generative.identifiers.joint_rqvae import JointAutoEncoder  # noqa: E402
from benchmark_generative.identifiers.settings import COMMITMENT  # noqa: E402

from benchmark import BenchmarkError, ContractError  # noqa: E402
from benchmark.plugins import build, load  # noqa: E402
from benchmark.suite.load import load_suite  # noqa: E402

SMALL = JointSettings(size=8, hidden=(32,), latent=8, steps=80, batch_size=64)


def vectors(n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Twelve clusters of texts and ten of tastes; the last two items are equal to the first in both."""
    rng = np.random.default_rng(seed)
    semantic = rng.normal(size=(12, 10))[np.arange(n) % 12] + 0.3 * rng.normal(size=(n, 10))
    collaborative = 5 + rng.normal(size=(10, 6))[np.arange(n) % 10] + 0.3 * rng.normal(size=(n, 6))
    for part in (semantic, collaborative):
        part[-2:] = part[0]
    return semantic.astype(np.float32), collaborative.astype(np.float32)


# Equations 3 to 9 of Shi 2025, by hand


def by_hand(**settings: Any) -> JointAutoEncoder:
    """Two shared and two specific levels of two codes each; latents of one number each."""
    model = JointAutoEncoder(1, 1, JointSettings(size=2, hidden=(), latent=1, **settings))
    codebooks: list[list[list[float]]] = [
        [[2, 0], [0, 2]],
        [[1, 1], [0, -1]],
        *([[0.75], [-1]], [[0], [0.25]]),
        *([[0.5], [-0.25]], [[0.5], [-1]]),
    ]
    for codebook, values in zip(model.codebooks, codebooks, strict=True):
        codebook.data = torch.tensor(values, dtype=torch.float32)
    return model


LATENT = ((3.0, -1.0),)
"""[z_s; z_c]. Left over: (1, -1) behind (2, 0), (1, 0) behind (0, -1). Of the semantic half, 1: .25 behind .75, 0
behind .25. Of the collaborative half, 0: .25 behind -.25, -.25 behind .5."""


def test_the_residual_quantisation_is_that_of_equations_3_to_6() -> None:
    model = by_hand()
    given, codes, found = model.quantise(torch.tensor(LATENT))
    assert [g[0].tolist() for g in given] == [[3, -1], [1, -1], [1], [0.25], [0], [0.25]]
    word = [int(c) for c in codes]
    assert [[word[level] for level in levels] for levels in model.identifiers] == [[0, 1, 0, 1], [0, 1, 1, 0]]
    # 2 + 0 + .75 + .25, and 0 - 1 - .25 + .5
    assert model.joined(found).tolist() == [[3.0, -0.75]]


def test_the_losses_are_those_of_equations_8_and_9() -> None:
    points = torch.tensor([[4.0, 0.0]])
    missed, terms, *_ = by_hand().loss(torch.tensor(LATENT), lambda z: z, points)
    assert missed.item() == 1 + 0.75**2
    assert terms.item() == pytest.approx((1 + 0.25) * ((2 + 1) + (0.0625 + 0) + (0.0625 + 0.0625)))


def test_the_authors_code_takes_means_over_widths_and_levels() -> None:
    *_, terms = by_hand(reduction="mean").loss(torch.tensor(LATENT), lambda z: z, torch.zeros(1, 2))[:2]
    assert terms.item() == pytest.approx((1 + 0.25) * ((1 + 0.5) / 2 + (0.0625 + 0) / 2 + (0.0625 + 0.0625) / 2))
    wide = JointAutoEncoder(2, 1, replace(SMALL, reduction="mean"))
    points = torch.tensor([[1.0, 3.0, 2.0]])
    assert wide.missed(points, torch.zeros(1, 3)).item() == (1 + 9) / 2 + 4
    assert JointAutoEncoder(2, 1, SMALL).missed(points, torch.zeros(1, 3)).item() == 1 + 9 + 4


@pytest.mark.parametrize("level", range(6))
def test_the_commitment_of_every_level_reaches_the_encoders_that_it_is_about(level: int) -> None:
    torch.manual_seed(0)
    model = JointAutoEncoder(6, 5, replace(SMALL, size=4))
    points = torch.randn(40, 11)
    start_codebooks(model, points, torch.Generator().manual_seed(0))
    given, _, found = model.quantise(model.encoder(points))
    (given[level] - found[level].detach()).square().sum().backward()  # type: ignore[no-untyped-call]

    def reached(network: Any) -> bool:
        return all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())

    # The shared levels are about both, the next two about semantic vectors, the last two about collaborative ones.
    assert reached(model.encoder.semantic) == (level < 4)
    assert reached(model.encoder.collaborative) == (level < 2 or level >= 4)
    assert all(c.grad is None or not c.grad.any() for c in model.codebooks)


def test_the_codebook_terms_move_their_own_codes_and_the_reconstruction_passes_straight_through() -> None:
    model, latent = by_hand(), torch.tensor(LATENT, requires_grad=True)
    missed, terms, *_ = model.loss(latent, lambda z: z, torch.tensor([[4.0, 0.0]]))
    terms.sum().backward(retain_graph=True)
    # 2 (e - r) of the codes that were chosen; nothing for the others.
    wanted = [[[-2, 2], [0, 0]], [[0, 0], [-2, 0]], [[-0.5], [0]], [[0], [0]], [[0], [-0.5]], [[0.5], [0]]]
    assert [c.grad.tolist() for c in model.codebooks if c.grad is not None] == wanted
    latent.grad = None
    model.zero_grad()
    missed.sum().backward()
    assert latent.grad is not None
    assert latent.grad.tolist() == [[-2 * (4 - 3), -2 * (0 + 0.75)]]
    assert all(c.grad is None or not c.grad.any() for c in model.codebooks)


# Identifiers


@pytest.mark.parametrize("collisions", ["nearest", "sinkhorn", "extra"])
def test_identifiers_are_unique_and_shared_codes_are_equal_in_both(collisions: Any) -> None:
    semantic, collaborative = vectors()
    settings = replace(SMALL, size=4, collisions=collisions)
    made = make_joint(semantic, collaborative, settings, seed=1)
    assert (len(made), made.shared) == (240, 2)
    np.testing.assert_array_equal(made.semantic.codes[:, :2], made.collaborative.codes[:, :2])
    assert (made.semantic.codes[:, 2:4] != made.collaborative.codes[:, 2:4]).any()
    for name, ids in (("semantic", made.semantic), ("collaborative", made.collaborative)):
        assert len(np.unique(ids.codes, axis=0)) == 240
        assert (ids.learned, ids.sizes[:4]) == (4, (4, 4, 4, 4))
        facts = made.facts[name]
        assert facts == ids.facts
        assert 0.008 < facts["collision_rate_before"] < 1  # the equal items at the least, 2 of 240
        assert facts["collision_rate"] == 0
        assert 0 < facts["reconstruction_error"] < 1.5
        assert len(facts["use"]) == 4
        if collisions != "extra":
            assert facts["collision_rate_after_moving"] < facts["collision_rate_before"]
    assert made.facts.keys() >= {"kind", "shared", "size", "steps", "precision", "seed"}
    assert made.facts["digest"] == made.digest
    json.dumps(made.facts)


def test_moved_items_keep_what_they_share_with_the_other_identifier() -> None:
    """With one specific level, the one code that repair may change."""
    semantic, collaborative = vectors()
    settings = replace(SMALL, size=16, specific=1, steps=20)
    moved = make_joint(semantic, collaborative, settings, seed=0)
    before = make_joint(semantic, collaborative, replace(settings, collisions="extra"), seed=0)
    assert moved.facts["semantic"]["items_moved"] > 0
    for a, b in ((moved.semantic, before.semantic), (moved.collaborative, before.collaborative)):
        np.testing.assert_array_equal(a.codes[:, :2], b.codes[:, :2])
    assert (moved.semantic.codes[:, 2] != before.semantic.codes[:, 2]).any()


def test_colliding_items_take_the_nearest_code_that_is_free() -> None:
    codebook = torch.tensor([[0.0], [1.0], [5.0]])
    residuals = torch.tensor([[0.0], [0.4], [0.0], [5.0], [0.3]])
    codes = np.array([[7, 0], [7, 0], [3, 0], [7, 2], [7, 0]], dtype=np.int32)
    # The second finds 1 free behind 7, where 0 and 2 are taken; for the last none is left.
    assert nearest_free(codes, residuals, codebook).tolist() == [[7, 0], [7, 1], [3, 0], [7, 2], [7, 0]]
    assert codes[1, 1] == 0
    assert nearest_free(codes[2:4], residuals[2:4], codebook).tolist() == [[3, 0], [7, 2]]


def test_the_same_seed_gives_the_same_codes() -> None:
    semantic, collaborative = vectors()
    made = [make_joint(semantic, collaborative, SMALL, seed=seed).digest for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", ["joint", "semantic"])
def test_identifiers_are_made_on_a_gpu(kind: Any) -> None:
    assert len(make_pair(*vectors(), replace(SMALL, kind=kind), seed=0, device="cuda")) == 240


def test_items_not_trained_on_change_nothing_for_the_others() -> None:
    (semantic, collaborative), other, seen = vectors(), vectors(seed=3), np.arange(240) % 5 != 0
    made, changed = (
        make_joint(s, c, SMALL, seed=0, trained_on=seen)
        for s, c in (
            (semantic, collaborative),
            (np.where(seen[:, None], semantic, other[0]), np.where(seen[:, None], collaborative, np.nan)),
        )
    )
    for a, b in ((made.semantic, changed.semantic), (made.collaborative, changed.collaborative)):
        np.testing.assert_array_equal(a.codes[seen][:, :4], b.codes[seen][:, :4])
    assert changed.facts["items_trained_on"] == 192
    assert changed.facts["items_without_collaborative"] == 48


@pytest.mark.parametrize("kind", ["semantic", "collaborative"])
def test_identifiers_of_one_kind_of_vectors_have_the_same_shape(kind: Any) -> None:
    semantic, collaborative = vectors()
    given = {"semantic": (semantic, None), "collaborative": (None, collaborative)}[kind]
    made = make_pair(*given, replace(SMALL, kind=kind), seed=0)
    assert made.semantic is made.collaborative
    assert made.shared == len(made.semantic.sizes) >= 4
    assert made.semantic.learned == 4
    joint = make_pair(semantic, collaborative, SMALL, seed=0)
    assert made.facts.keys() == joint.facts.keys()
    own = {"method", "levels", "seed", "precision"}
    assert made.facts["semantic"].keys() - joint.facts["semantic"].keys() == own
    assert (made.facts["kind"], joint.facts["kind"]) == (kind, "joint")
    assert joint.digest == make_joint(semantic, collaborative, SMALL, seed=0).digest


def test_items_that_the_other_model_does_not_know_are_told_apart_by_what_they_say() -> None:
    semantic, collaborative = vectors()
    collaborative[:20] = np.nan
    collaborative[20:40] = 0
    made = make_joint(semantic, collaborative, SMALL, seed=0)
    assert made.facts["items_without_collaborative"] == 20
    assert len(np.unique(made.semantic.semantic[:20], axis=0)) > 10
    alone = make_pair(None, collaborative, replace(SMALL, kind="collaborative"), seed=0)
    assert alone.facts["items_without_collaborative"] == 20


@pytest.mark.parametrize("n", [1, 2, 5])
def test_catalogues_smaller_than_a_codebook(n: int) -> None:
    semantic, collaborative = vectors()
    made = make_joint(semantic[:n], collaborative[:n], SMALL, seed=0)
    assert made.semantic.codes.shape[0] == n
    assert made.facts["semantic"]["collision_rate"] == 0


def test_the_papers_settings() -> None:
    suite, _ = load_suite(str(Path(__file__).parents[2] / "suites" / "gensar2025.yaml"), "paper")
    given = next(dict(model.params["identifiers"]) for model in suite.models if model.name == "GenSAR")
    paper = JointSettings(**{**given, "hidden": tuple(given["hidden"])})
    model = JointAutoEncoder(768, 64, paper)
    assert [tuple(c.shape) for c in model.codebooks] == [(256, 64)] * 2 + [(256, 32)] * 4
    assert (paper.shared, paper.specific, COMMITMENT) == (2, 2, 0.25)
    assert (paper.batch_size, paper.learning_rate, paper.codebook_rate) == (1024, 1e-3, 1e-3)
    assert paper.steps == 500 * 62  # the epochs of A.4, of the batches that 62,883 items make
    assert (paper.reduction, paper.enough) == ("sum", None)
    semantic, collaborative = vectors()
    few = replace(paper, size=8, hidden=(16,), latent=8, steps=3)
    assert make_joint(semantic, collaborative, few, seed=0).facts["steps"] == 3


def test_joint_identifiers_that_were_not_learned_say_which() -> None:
    semantic, collaborative = vectors()
    assert "remarks" not in make_joint(semantic, collaborative, SMALL, seed=0).facts
    wild = replace(SMALL, learning_rate=10.0, codebook_rate=10.0, enough=None)
    remarks = make_joint(semantic, collaborative, wild, seed=0).facts["remarks"]
    assert [remark.rpartition(" ")[2] for remark in remarks if "has not learned" in remark] == [
        "(semantic)",
        "(collaborative)",
    ]
    alone = make_pair(semantic, None, replace(wild, kind="semantic"), seed=0).facts["remarks"]
    assert all(remark.endswith("(semantic)") for remark in alone)


# Files


def test_saved_identifiers_come_back_and_changed_ones_do_not(tmp_path: Path) -> None:
    made, path = make_joint(*vectors(), SMALL, seed=0), tmp_path / "new" / "joint.npz"
    made.save(path)
    again = JointIdentifiers.load(path)
    np.testing.assert_array_equal(again.semantic.codes, made.semantic.codes)
    np.testing.assert_array_equal(again.collaborative.codes, made.collaborative.codes)
    assert (again.shared, again.facts, again.digest) == (made.shared, made.facts, made.digest)
    assert [p.name for p in path.parent.iterdir()] == ["joint.npz"]

    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BenchmarkError, match=r"is incomplete.*make the identifiers again"):
        JointIdentifiers.load(path)
    path.write_bytes(whole)
    with np.load(path) as file:
        parts = dict(file)
    np.savez(path, **{**parts, "facts": np.array("{}")})
    with pytest.raises(BenchmarkError, match="was changed"):
        JointIdentifiers.load(path)
    np.savez(path, **{**parts, "semantic_codes": parts["semantic_codes"][::-1]})
    with pytest.raises(BenchmarkError, match="was changed"):
        JointIdentifiers.load(path)
    with pytest.raises(BenchmarkError, match="no identifiers at"):
        JointIdentifiers.load(tmp_path / "absent.npz")


def test_what_is_asked_for_at_once_is_made_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Identifiers:
        made.append(1)
        time.sleep(0.05)
        return Identifiers.unique(np.array([[0], [1]]), (2,))

    x = np.arange(4.0)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cached(tmp_path / "new", ("a", 1, x), make, Identifiers.load), range(4)))
    assert len(made) == 1
    assert len({ids.digest for ids in found}) == 1
    for parts in (("a", 2, x), ("b", 1, x), ("a", 1, x[::-1]), ("a", 1, x.reshape(2, 2)), ("a", 1, None)):
        cached(tmp_path / "new", parts, make, Identifiers.load)
    assert len(made) == 6

    def fails() -> Identifiers:
        raise BenchmarkError("no")

    with pytest.raises(BenchmarkError, match="no"):
        cached(tmp_path / "new", ("c",), fails, Identifiers.load)
    cached(tmp_path / "new", ("c",), make, Identifiers.load)
    assert len(made) == 7


def test_a_pair_is_kept_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    semantic, collaborative = vectors()
    first = make_pair(semantic, collaborative, SMALL, seed=0, folder=tmp_path)
    monkeypatch.setattr("benchmark_generative.identifiers.joint.make_joint", None)
    assert make_pair(semantic, collaborative, SMALL, seed=0, folder=tmp_path).facts == first.facts
    for other in (replace(SMALL, latent=9), replace(SMALL, steps=81), replace(SMALL, precision="bf16")):
        with pytest.raises(TypeError):
            make_pair(semantic, collaborative, other, seed=0, folder=tmp_path)
    with pytest.raises(TypeError):
        make_pair(semantic, collaborative, SMALL, seed=1, folder=tmp_path)


# Mistakes


def test_joint_identifiers_that_share_nothing_are_none() -> None:
    a, b = (Identifiers(np.array(codes, dtype=np.int32), (3, 3), 2) for codes in ([[0, 1], [1, 2]], [[0, 2], [2, 2]]))
    assert len(JointIdentifiers(a, a, 2)) == 2
    with pytest.raises(ContractError, match="the first 1 codes"):
        JointIdentifiers(a, b, 1)
    with pytest.raises(ContractError, match="cannot share 3 levels"):
        JointIdentifiers(a, a, 3)
    fewer = Identifiers(a.codes[:1].copy(), (3, 3), 2)
    with pytest.raises(ContractError, match="of 2 and 1 items"):
        JointIdentifiers(a, fewer, 1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"shared": 0}, "'shared' must be int of at least 1, got 0"),
        ({"size": 2.5}, "'size' must be int from 2 to 65,536, got 2.5"),
        ({"reduction": "max"}, "'reduction' must be one of 'sum', 'mean', got 'max'"),
        ({"collisions": "none"}, "'collisions' must be one of 'extra', 'sinkhorn', 'nearest', got 'none'"),
        ({"hidden": [0]}, "'hidden' must be tuple of int of at least 1, got"),
    ],
)
def test_wrong_settings_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        build(load().models["gensar"], {"identifiers": params})


def test_wrong_vectors_are_refused() -> None:
    semantic, collaborative = vectors()
    with pytest.raises(BenchmarkError, match="need collaborative vectors"):
        make_pair(semantic, None, SMALL, seed=0)
    with pytest.raises(BenchmarkError, match="240 semantic and 239 collaborative"):
        make_joint(semantic, collaborative[1:], SMALL, seed=0)
    with pytest.raises(BenchmarkError, match="the same semantic vector"):
        make_joint(np.ones_like(semantic), collaborative, SMALL, seed=0)
    with pytest.raises(BenchmarkError, match="no item has a collaborative vector"):
        make_joint(semantic, np.full_like(collaborative, np.nan), SMALL, seed=0)
    with pytest.raises(BenchmarkError, match="a semantic vector per item"):
        make_joint(semantic[0], collaborative, SMALL, seed=0)
    semantic[3, 0] = np.nan
    with pytest.raises(BenchmarkError, match="1 items, first in row 3"):
        make_joint(semantic, collaborative, SMALL, seed=0)
