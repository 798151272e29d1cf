"""GenSAR: every example of section 3.3 word by word, tasks and shares, the right identifier for each task, candidates,
next queries, pseudo-queries; and the contract, on logs with and without searches of users."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from benchmark import (
    PAD,
    QUERY,
    RECOMMENDED,
    SEARCHED,
    TASKS,
    BenchmarkError,
    Context,
    Dataset,
    Events,
    Ragged,
    Train,
)
from benchmark.plugins import build, load
from benchmark.testing import check_model, checkerboard, make_catalog, make_requests, make_train

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from benchmark_generative import doc2query, gensar_tasks, training  # noqa: E402
from benchmark_generative.gensar import Collaborative, GenSar  # noqa: E402
from benchmark_generative.gensar_tasks import Writer, examples, phrases  # noqa: E402
from benchmark_generative.gensar_vocabulary import Slices, Vocabulary, joined, own_words  # noqa: E402
from benchmark_generative.identifiers import Identifiers, JointSettings  # noqa: E402
from benchmark_generative.identifiers.joint import JointIdentifiers  # noqa: E402
from benchmark_generative.t5_steps import T5Steps  # noqa: E402, F401
from benchmark_generative.tokens import encode  # noqa: E402
from benchmark_generative.training import IGNORED, Pairs, batches  # noqa: E402

SMALL = JointSettings(shared=1, specific=1, size=8, hidden=(16,), latent=4, steps=2)
TINY: dict[str, Any] = {
    "identifiers": dataclasses.replace(SMALL, kind="semantic"),
    "d_model": 32, "d_ff": 64, "heads": 2, "d_kv": 16, "layers": 1,
    "decoder_layers": 1, "dropout": 0.0, "batch_size": 64, "steps": 4, "evaluate_every": 2, "max_history": 3,
    "learning_rate": 5e-3, "beams": 30,
}  # fmt: skip
Behaviour = Literal["input", "decoder"]

# The items of the paper's boxes: shared codes, then those of each identifier.
CODES = {
    "Grand Piano": ((247, 197), (184, 110), (9, 9)),
    "Notes. ": ((30, 147), (5, 5), (247, 229)),
    "Candle holder": ((10, 25), (6, 6), (52, 37)),
    "Apple MacBook Air": ((135, 19), (41, 65), (7, 7)),
}
IDENTIFIERS = JointIdentifiers(
    *(
        Identifiers(np.array([[*item[0], *item[which]] for item in CODES.values()], dtype=np.int32), (256,) * 4, 4)
        for which in (1, 2)
    ),
    2,
)
PIANO = "<M_1_247> <M_2_197> <S_1_184> <S_2_110>"
NOTES, CANDLE = "<M_1_30> <M_2_147> <R_1_247> <R_2_229>", "<M_1_10> <M_2_25> <R_1_52> <R_2_37>"
MACBOOK, MACBOOK_R = "<M_1_135> <M_2_19> <S_1_41> <S_2_65>", "<M_1_135> <M_2_19> <R_1_7> <R_2_7>"
BELOW = "Below is the user's interaction history:"
CLICK = "Please recommend the next item the user is likely to click."
SEARCH = "Please predict the next query the user might want to search."
FIND = "Please predict the next item the user might click."
EXAMPLES = {
    "nrip": [
        (f"{BELOW} <S_Q> Piano; <S_I> {PIANO}. {CLICK}", f"<R_I> {NOTES}"),
        (f"{BELOW} <S_Q> Piano; <S_I> {PIANO}; <R_I> {NOTES}. {CLICK}", f"<R_I> {CANDLE}"),
    ],
    "nsqp": [
        (
            f"{BELOW} <S_Q> Piano; <S_I> {PIANO}; <R_I> {NOTES}; <R_I> {CANDLE}. {SEARCH}",
            "<S_Q> Artificial Intelligence",
        ),
    ],
    "nsip": [
        (f"The user's search query is <S_Q> Piano. {FIND}", f"<S_I> {PIANO}"),
        (
            f"{BELOW} <S_Q> Piano; <S_I> {PIANO}; <R_I> {NOTES}; <R_I> {CANDLE}. "
            f"The user's search query is <S_Q> Artificial Intelligence. {FIND}",
            f"<S_I> {MACBOOK}",
        ),
    ],
    "adhoc": [
        (f"The user's search query is <S_Q> Piano. {FIND}", f"<S_I> {PIANO}"),
        (f"The user's search query is <S_Q> Artificial Intelligence. {FIND}", f"<S_I> {MACBOOK}"),
    ],
    "desc2id": [
        ('Using the provided description "Apple MacBook Air", predict the corresponding item.', MACBOOK),
        ('Using the provided description "Apple MacBook Air", predict the corresponding item.', MACBOOK_R),
    ],
    "id2desc": [
        (f"Please provide a description for the item {MACBOOK}.", "Apple MacBook Air."),
        (f"Please provide a description for the item {MACBOOK_R}.", "Apple MacBook Air."),
    ],
}  # fmt: skip


def log(events: Events | None, clicks: list[list[int]], **caps: int) -> Train:
    searches = {"Piano": [0], "Artificial Intelligence": [3]}
    return make_train(clicks, searches, make_catalog(CODES), events=events, **caps)


def one_user(**caps: int) -> Train:
    """Searched for "Piano" and found the piano, clicked notes and a candle, searched again and found a computer."""
    kind = np.array([QUERY, SEARCHED, RECOMMENDED, RECOMMENDED, QUERY, SEARCHED], dtype=np.int8)
    value = np.array([0, 0, 1, 2, 1, 3], dtype=np.int32)
    queries = np.array(["Piano", "Artificial Intelligence"], dtype=object)
    events = Events(np.array([0, 6]), kind, value, queries, np.array([0, 0, 2, 3, 4, 4]))
    return log(events, [[1, 2]], **caps)


def cased_words() -> Any:
    """A tokenizer like T5's, of pieces, with capitals and signs."""
    words = tokenizers.Tokenizer(tokenizers.models.Unigram())
    words.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    words.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    words.train_from_iterator([*phrases(), *CODES, "Piano", "Artificial Intelligence"] * 3, trainer)
    return words


def writer(words: str = "own", behaviour: Behaviour = "decoder", **given: Any) -> Writer:
    made = (
        cased_words() if words == "cased" else own_words(["Piano", "Artificial Intelligence"], [*CODES], phrases(), 99)
    )
    said = {k: given.pop(k) for k in ("behaviours", "phrases") if k in given}
    vocabulary = Vocabulary.of(made, (0, 1), made.get_vocab_size(), IDENTIFIERS, **said)
    limits = {"clicks": 5, "searches": 5, "query_tokens": 40, "description_tokens": 40}
    return Writer(vocabulary, behaviour, **{**limits, **given})


def spelled(of: Writer, pairs: Pairs | None) -> list[tuple[str, str]]:
    """Every example as its instruction and its response, without the tokens that end them."""
    assert pairs is not None
    tokens, mask = pairs.inputs.batch(torch.arange(len(pairs.targets)), 0, 1)
    assert all(row[m.sum() - 1] == 1 for row, m in zip(tokens, mask, strict=True))
    return [
        (of.vocabulary.decode(row[: m.sum() - 1]), of.vocabulary.decode(t for t in target if t not in (1, IGNORED)))
        for row, m, target in zip(tokens, mask, pairs.targets, strict=True)
    ]


def spaced(text: str) -> str:
    """As tokens are spelled: a space around every sign that stands outside a word and a code."""
    return re.sub(r"\s+", " ", re.sub(r'([;:."](?=\s|$|,)|(?<=\s)"|(?<="),)', r" \1 ", text)).strip()


def lowered(text: str) -> str:
    return re.sub(r"(?<![<\w])[A-Z]\w*(?![>\w])|(?<= )MacBook", lambda word: word[0].lower(), text)


def same(found: tuple[str, str], wanted: tuple[str, str], words: str) -> None:
    if words == "own":  # which knows no capitals
        wanted = (lowered(wanted[0]), lowered(wanted[1]))
    assert [re.sub(r"\s", "", side) for side in found] == [re.sub(r"\s", "", side) for side in wanted]
    assert found[0].split() == spaced(wanted[0]).split() or words == "cased"


@pytest.mark.parametrize("words", ["own", "cased"])
@pytest.mark.parametrize("task", list(EXAMPLES))
def test_every_example_of_the_paper(task: str, words: str) -> None:
    of = writer(words)
    found = spelled(of, examples(task, one_user(), of))
    if task in ("desc2id", "id2desc"):
        assert len(found) == 8, "four items with two identifiers each"
        found = found[3::4]
    assert len(found) == len(EXAMPLES[task])
    for one, wanted in zip(found, EXAMPLES[task], strict=True):
        same(one, wanted, words)


@pytest.mark.parametrize("task", list(EXAMPLES))
def test_the_token_of_a_behaviour_ends_the_input_or_begins_the_output(task: str) -> None:
    decoder, at_end = writer(), writer(behaviour="input")
    for (asked, said), (other, rest) in zip(
        spelled(decoder, examples(task, one_user(), decoder)),
        spelled(at_end, examples(task, one_user(), at_end)),
        strict=True,
    ):
        assert f"{asked} {said}" == f"{other} {rest}"
        token = said.split()[0]
        assert (token in ("<R_I>", "<S_Q>", "<S_I>")) == (task in gensar_tasks.BEHAVIOUR)
        if task in gensar_tasks.BEHAVIOUR:
            assert other.endswith(f" . {token}")


def test_without_behaviour_tokens_only_the_instruction_differs() -> None:
    of = writer(behaviours=False)
    assert not [name for name in of.vocabulary.names if name in ("<R_I>", "<S_Q>", "<S_I>")]
    for task, wanted in EXAMPLES.items():
        if task not in ("desc2id", "id2desc"):
            for one, (asked, said) in zip(spelled(of, examples(task, one_user(), of)), wanted, strict=True):
                same(one, tuple(re.sub(r"<(R_I|S_Q|S_I)> ", "", side) for side in (asked, said)), "own")  # type: ignore[arg-type]


def test_instructions_as_tokens() -> None:
    of = writer(phrases=phrases(signs=False))
    (_, (asked, said)) = spelled(of, examples("nrip", one_user(), of))
    assert asked == f"{BELOW} <S_Q> piano ; <S_I> {PIANO} ; <R_I> {NOTES} {CLICK}"
    pairs = examples("nrip", one_user(), of)
    assert pairs is not None
    # Below…, <S_Q> piano ; <S_I> and 4 codes ; <R_I> and 4 codes, Please recommend…
    assert pairs.inputs.length.tolist() == [10, 16]
    assert said == f"<R_I> {CANDLE}"


def test_the_newest_of_a_history_are_read() -> None:
    of = writer(clicks=1, searches=5)
    asked, _ = spelled(of, examples("nsqp", one_user(), of))[0]
    same((asked, ""), (f"{BELOW} <S_Q> Piano; <S_I> {PIANO}; <R_I> {CANDLE}. {SEARCH}", ""), "own")
    of = writer(query_tokens=1)
    assert spelled(of, examples("nsqp", one_user(), of))[0][1] == "<S_Q> artificial"
    newest = examples("nrip", one_user(max_prefixes_per_user=1), writer())
    assert newest is not None
    assert len(newest.targets) == 1


def test_without_searches_of_users_a_search_has_no_history() -> None:
    of, train = writer(), log(None, [[1, 2, 3], [0]])
    assert examples("nsqp", train, of) is None
    assert spelled(of, examples("nsip", train, of)) == spelled(of, examples("adhoc", one_user(), of))
    found = spelled(of, examples("nrip", train, of))
    same(found[0], (f"{BELOW} <R_I> {NOTES}. {CLICK}", f"<R_I> {CANDLE}"), "own")
    assert len(found) == 2


def test_pseudo_queries_are_ad_hoc_searches() -> None:
    of = writer()
    texts = np.array(["piano", "computer piano"], dtype=object)
    found = spelled(of, examples("adhoc", one_user(), of, (texts, np.array([0, 3]))))
    assert [said for _, said in found] == [f"<S_I> {PIANO}", f"<S_I> {MACBOOK}"]
    assert "<S_Q> <unk> piano ." in found[1][0]


def test_items_without_a_description_have_no_examples_of_it() -> None:
    of = writer()
    train = dataclasses.replace(one_user(), catalog=make_catalog(["", "Apple", "…", "Air"]))
    found = examples("desc2id", train, of)
    assert found is not None
    assert len(found.targets) == 4


def test_targets_of_texts_end_and_those_of_codes_do_not() -> None:
    of = writer()
    query, item = (examples(task, one_user(), of) for task in ("nsqp", "nsip"))
    assert query is not None
    assert item is not None
    assert query.targets[0, -1] == 1
    assert item.targets.shape == (2, 5)
    described = examples("id2desc", one_user(), of)
    assert described is not None
    # grand piano . </s> is shorter than apple macbook air . </s>
    assert (described.targets == IGNORED).sum(1).tolist() == [1, 2, 1, 0] * 2


def test_rows_are_joined_by_index() -> None:
    first = Slices.of(Ragged.from_rows([[1, 2], [], [3]]))
    assert joined([Slices.repeated([9], 3), first.take(np.array([2, 0, 1])), first]).values.tolist() == [
        9, 3, 1, 2, 9, 1, 2, 9, 3,
    ]  # fmt: skip
    assert [row.tolist() for row in map(Slices.stacked([first, first]).values.__getitem__, [slice(0, 6)])] == [
        [1, 2, 3, 1, 2, 3]
    ]


def test_frequent_words_are_kept_and_those_of_instructions_always() -> None:
    words = own_words(["rare thing", "thing"], ["the text", "the text of"], ["Below is the user's:"], 9)
    assert [words.id_to_token(i) for i in range(words.get_vocab_size())] == [
        "<pad>", "</s>", "<unk>", "below", "is", "the", "user's", ":", "thing",
    ]  # fmt: skip
    least = own_words(["rare thing"], [], ["Below is the user's:"], 1)
    assert [least.id_to_token(t) for t in encode(least, ["below the thing:"], 9)[0]] == ["below", "the", "<unk>"]


@pytest.mark.parametrize("task", ["nrip", "nsip", "nsqp"])
def test_no_target_stands_in_its_own_input(task: str) -> None:
    """Every item is one code of its own here, and a joint checkerboard logs every click as a search, too."""
    data = checkerboard(joint=True)
    n = len(data.train.catalog)
    ids = Identifiers(np.arange(n, dtype=np.int32)[:, None], (n,), 1)
    words = own_words(data.train.queries, [], phrases(), 500)
    vocabulary = Vocabulary.of(words, (0, 1), words.get_vocab_size(), JointIdentifiers(ids, ids, 1))
    of = Writer(vocabulary, "input", 5, 5, 9, 9)
    found = spelled(of, examples(task, data.train, of))
    assert len(found) > 500
    for asked, said in found:
        assert said
        assert f" {said} " not in f" {asked} "
    for split in (data.valid, data.test):
        for wanted, asked_for in (("nrip", split["recommendation"]), ("nsip", split["search"])):
            tokens, _ = of.next_item(asked_for.requests).batch(torch.arange(len(asked_for.requests)), 0, 1)
            answers = of.items(wanted)[asked_for.relevant.values]
            assert not (tokens.numpy() == answers).any()


def fitted(tmp_path: Path, data: Dataset | None = None, **params: Any) -> tuple[GenSar, Context]:
    data, context = data or checkerboard(n_items=6, n_users=12, joint=True), Context(0, "cpu", tmp_path)
    model = GenSar(**{**TINY, **params})
    model.fit(data.train, data.valid, context)
    return model, context


def joint_params(tmp_path: Path, data: Dataset) -> dict[str, Any]:
    """Identifiers of both kinds, from vectors in files."""
    rng = np.random.default_rng(0)
    ids, n = data.train.catalog.ids, len(data.train.catalog)
    for name, width in (("said", 12), ("chosen", 6)):
        np.savez(tmp_path / f"{name}.npz", ids=ids.astype(str), vectors=rng.normal(size=(n, width)).astype("f4"))
    return {
        "identifiers": SMALL,
        "encoder": str(tmp_path / "said.npz"),
        "collaborative": Collaborative(file=str(tmp_path / "chosen.npz")),
    }


@pytest.mark.parametrize("behaviour", ["input", "decoder"])
def test_contract(behaviour: Behaviour) -> None:
    params = {**TINY, "steps": 300, "evaluate_every": 100, "behaviour": behaviour, "instructions": "tokens"}
    trained = {"nsqp": 0, "nsip": 3, "desc2id": 0, "id2desc": 0}
    check_model(lambda: GenSar(**params, tasks_trained=trained), joint=behaviour == "input")


def test_each_task_can_be_switched_off_and_shares_are_recorded(tmp_path: Path) -> None:
    _, context = fitted(tmp_path / "all")
    n = 7
    assert context.facts["examples_by_task"] == {"nrip": 60, "nsqp": 60, "nsip": 72, "desc2id": n, "id2desc": n}
    assert set(context.facts["losses"]) == set(context.facts["examples_by_task"])
    assert all(0 < loss < 20 for loss in context.facts["losses"].values())
    for task in context.facts["examples_by_task"]:
        _, without = fitted(tmp_path / task, tasks_trained={task: 0})
        assert set(without.facts["examples_by_task"]) == set(context.facts["examples_by_task"]) - {task}
    _, context = fitted(tmp_path / "some", tasks_trained={"nrip": 0.5, "adhoc": 2.0})
    assert context.facts["shares"] == {
        "nrip": 0.5, "nsqp": 1.0, "nsip": 1.0, "adhoc": 2.0, "desc2id": 1.0, "id2desc": 1.0
    }  # fmt: skip


def test_a_pass_trains_at_most_the_stated_number_of_examples(tmp_path: Path) -> None:
    _, context = fitted(tmp_path, examples_per_pass={"nsip": 36, "nsqp": 1000}, tasks_trained={"nrip": 0.5})
    assert context.facts["examples_by_task"]["nsip"] == 72
    shares = context.facts["shares"]
    assert (shares["nsip"], shares["nsqp"], shares["nrip"]) == (0.5, 1.0, 0.5)


def test_an_item_is_learned_for_a_query_as_often_as_it_was_clicked() -> None:
    kind = np.array([QUERY, SEARCHED, QUERY, SEARCHED, SEARCHED], dtype=np.int8)  # two users search for "Piano"
    value, ends = np.array([0, 0, 0, 0, 2], dtype=np.int32), np.array([0, 0, 2, 2, 2])
    events = Events(np.array([0, 2, 5]), kind, value, np.array(["Piano"], dtype=object), ends)
    of = writer()
    said = Counter(response for _, response in spelled(of, examples("adhoc", log(events, [[], []]), of)))
    assert said == {f"<S_I> {PIANO}": 2, "<S_I> <M_1_10> <M_2_25> <S_1_6> <S_2_6>": 1}


def test_a_pass_trains_the_share_of_every_source() -> None:
    settings = training.TrainSettings(
        epochs=4, batch_size=5, learning_rate=1e-3, weight_decay=0, patience=1, warmup=0, precision="fp32",
        shares=(1.0, 0.5, 2.0),
    )  # fmt: skip
    length = torch.ones(4 + 8 + 3, dtype=torch.int64)
    drawn = []
    for epoch in range(4):
        rows = np.bincount(torch.cat(batches(length, [4, 8, 3], settings, seed=0, epoch=epoch)), minlength=15)
        assert rows[:4].tolist() == [1] * 4
        assert rows[4:12].sum() == 4
        assert rows[12:].tolist() == [2] * 3
        drawn.append(rows[4:12])
    assert (np.sum(drawn, axis=0) > 0).sum() > 5, "another half in every pass"


@pytest.mark.parametrize("behaviour", ["input", "decoder"])
def test_each_task_writes_its_own_identifier(tmp_path: Path, behaviour: Behaviour) -> None:
    data = checkerboard(n_items=6, n_users=12, joint=True)
    model, context = fitted(tmp_path / "work", data, **joint_params(tmp_path, data), behaviour=behaviour)
    assert context.facts["identifiers"]["kind"] == "joint"
    names = model.writer_.vocabulary
    for task, letters in (("recommendation", "MR"), ("search", "MS")):
        requests = data.test[task].requests  # type: ignore[index]
        found = model.rank(requests, 7)
        key = {"recommendation": "nrip", "search": "nsip"}[task]
        said = [names.decode([t]) for t in model.writer_.items(key)[found.items[0, 0]]]
        lead = {"recommendation": "<R_I>", "search": "<S_I>"}[task] if behaviour == "decoder" else None
        if lead:
            assert said.pop(0) == lead
        assert {code[1] for code in said} == set(letters)
        # What the search calls the score is the likelihood of that very identifier.
        tokens, mask = model.writer_.next_item(requests).batch(torch.arange(1), 0, 1)
        target = torch.from_numpy(model.writer_.items(key)[found.items[:1, 0]])
        assert (names.decode(tokens[0, :-1]).split()[-1] == ("<R_I>" if task == "recommendation" else "<S_I>")) == (
            behaviour == "input"
        )
        with torch.inference_mode():
            loss = model.network_(input_ids=tokens, attention_mask=mask, labels=target).loss
        assert float(loss) * target.shape[1] == pytest.approx(-found.scores[0, 0], abs=1e-3)


def test_candidates_and_excluded_items(tmp_path: Path) -> None:
    data = checkerboard(n_items=6, n_users=12, joint=True)
    model, _ = fitted(tmp_path / "work", data, **joint_params(tmp_path, data))
    for task in TASKS:
        requests = data.test[task].requests
        n = len(requests)
        whole = model.rank(requests.unlimited(), 7)
        assert (np.sort(whole.items, axis=1) == np.arange(7)).all(), "the search reaches every item of a small tree"
        lists = Ragged.from_rows([[0, 3, 5, 5]] * n)
        limited = model.rank(dataclasses.replace(requests.unlimited(), candidates=lists), 7)
        kept = np.array([row[np.isin(row, [0, 3, 5])] for row in whole.items])
        assert (limited.items[:, :3] == kept).all()
        assert (limited.items[:, 3:] == PAD).all()
        without = dataclasses.replace(requests.unlimited(), exclude=Ragged.from_rows([[3]] * n), candidates=lists)
        assert set(model.rank(without, 7).items.ravel()) == {0, 5, PAD}
        barred = dataclasses.replace(requests.unlimited(), exclude=Ragged.from_rows([[3]] * n))
        assert (np.sort(model.rank(barred, 7).items, axis=1) == [PAD, 0, 1, 2, 4, 5, 6]).all()


def test_same_seed_same_weights_whatever_was_fitted_before(tmp_path: Path) -> None:
    data = checkerboard(n_items=6, n_users=12, joint=True)
    params = {**TINY, "dropout": 0.2}
    first, second, other = GenSar(**params), GenSar(**params), GenSar(**params)
    second.fit((small := checkerboard(n_items=5, n_users=10)).train, small.valid, Context(0, "cpu", tmp_path / "x"))
    for number, (model, seed) in enumerate(((first, 0), (second, 0), (other, 1))):
        model.fit(data.train, data.valid, Context(seed, "cpu", tmp_path / str(number)))
    weights = [torch.cat([p.flatten() for p in model.network_.parameters()]) for model in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def tiny_t5(folder: Path) -> str:
    """A T5 checkpoint as a hub would serve it, with a few rows of its table to spare, as t5-small has."""
    words = cased_words()
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=words.get_vocab_size() + 28, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return str(folder)


def test_from_a_checkpoint(tmp_path: Path) -> None:
    data = checkerboard(n_items=6, n_users=12, joint=True)
    params = {**joint_params(tmp_path, data), "checkpoint": tiny_t5(tmp_path / "t5")}
    model, _ = fitted(tmp_path / "work", data, **params)
    vocabulary = model.writer_.vocabulary
    assert vocabulary.first == cased_words().get_vocab_size() + 28, "new rows stand behind the last one of the table"
    assert len(model.network_.lm_head.weight) == vocabulary.size == vocabulary.first + 3 + 3 * 8
    for task in TASKS:
        assert (model.rank(data.test[task].requests, 3).items != PAD).all()


def test_pseudo_queries(tmp_path: Path) -> None:
    data = checkerboard(n_items=6, n_users=12, joint=True)
    folder = tiny_t5(tmp_path / "t5")
    _, context = fitted(tmp_path / "work", data, doc2query=folder)
    assert context.facts["pseudo_queries"] == context.facts["examples_by_task"]["adhoc"] > 0
    assert context.facts["shares"]["adhoc"] == 1
    kept = Context(0, "cpu", tmp_path / "other", shared=tmp_path / "shared")
    texts, items = doc2query.pseudo_queries(data.train, folder, kept)
    assert len(texts) == len(items) == len(set(items)) <= 7
    assert set(items) <= set(range(7))
    (file,) = (tmp_path / "shared").glob("*.json")
    file.write_text('["made before", "", "", "", "", "", "too"]')
    again = doc2query.pseudo_queries(data.train, folder, kept)
    assert again[0].tolist() == ["made before", "too"]
    assert again[1].tolist() == [0, 6]
    (tmp_path / "t5" / "README.md").write_text("another one in the same folder")
    assert doc2query.pseudo_queries(data.train, folder, kept)[0].tolist() == texts.tolist()


def test_an_item_without_a_text_has_no_pseudo_query(tmp_path: Path) -> None:
    train = checkerboard(n_items=6, n_users=12, joint=True).train
    said = train.catalog.texts.copy()
    said[[0, 3]] = ""
    train, folder = (
        dataclasses.replace(train, catalog=dataclasses.replace(train.catalog, texts=said)),
        tiny_t5(tmp_path / "t5"),
    )
    items = doc2query.pseudo_queries(train, folder, Context(0, "cpu", tmp_path))[1]
    assert set(items) <= {1, 2, 4, 5, 6}
    silent = dataclasses.replace(
        train, catalog=dataclasses.replace(train.catalog, texts=np.full(len(said), "", dtype=object))
    )
    assert not len(doc2query.pseudo_queries(silent, folder, Context(0, "cpu", tmp_path))[1])


def test_identifiers_of_one_kind_of_vectors_are_made_for_comparison(tmp_path: Path) -> None:
    data = checkerboard(n_items=6, n_users=12, joint=True)
    given = joint_params(tmp_path, data)
    _, without = fitted(tmp_path, data, **given)
    _, context = fitted(tmp_path, data, **given, compare_identifiers=True)
    found = dict(context.facts["identifiers"])
    alone = found.pop("alone")
    assert found == without.facts["identifiers"]  # those that are written are the same
    assert {name: facts["items"] for name, facts in alone.items()} == {"semantic": 7, "collaborative": 7}
    _, of = fitted(tmp_path, data, **{**given, "identifiers": dataclasses.replace(SMALL, kind="semantic")})
    assert of.facts["identifiers"]["semantic"] == alone["semantic"]
    assert GenSar(identifiers=JointSettings(kind="semantic"), compare_identifiers=True).needs == (("sasrec", {}),)


def test_collaborative_vectors_come_from_a_model(tmp_path: Path) -> None:
    data = checkerboard(n_items=6, n_users=12, joint=True)
    params = {**joint_params(tmp_path, data), "collaborative": Collaborative("unisar", {"dim": 8})}
    assert GenSar(**{**TINY, **params}).needs == (("unisar", {"dim": 8}),)
    assert GenSar().needs == (("sasrec", {}),)
    assert GenSar(identifiers=JointSettings(kind="semantic")).needs == ()
    asked = []

    def embed(model: str, given: Any) -> Any:
        asked.append((model, given))
        return np.random.default_rng(1).normal(size=(7, 8)).astype("f4")

    model = GenSar(**{**TINY, **params})
    model.fit(data.train, data.valid, Context(0, "cpu", tmp_path, embed=embed))
    assert asked == [("unisar", {"dim": 8})]
    with pytest.raises(BenchmarkError, match="only in a run of the harness"):
        GenSar(**{**TINY, **params}).fit(data.train, data.valid, Context(0, "cpu", tmp_path))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"steps": 0}, "'steps' must be int of at least 1, got 0"),
        ({"dropout": 1.0}, "'dropout' must be float from 0 to below 1, got 1.0"),
        (
            {"tasks_trained": {"nrp": 1}},
            "'tasks_trained' must be a mapping from one of 'nrip', .* Did you mean 'nrip'?",
        ),
        ({"tasks_trained": dict.fromkeys(("nrip", "nsqp", "nsip", "desc2id", "id2desc"), 0)}, "at least one task"),
        ({"tasks_trained": {"nrip": -1}}, "to float of at least 0, got {'nrip': -1}"),
        ({"examples_per_pass": {"nrp": 1}}, "'examples_per_pass' must be .* Did you mean 'nrip'?"),
        ({"examples_per_pass": {"nrip": 0.5}}, "to int of at least 1, got {'nrip': 0.5}"),
        ({"identifiers": {"kind": "both"}}, "'kind' must be one of 'joint', 'semantic', 'collaborative', got 'both'"),
        ({"identifiers": {"levels": 3}}, "unknown parameter 'levels' in identifiers of model 'gensar'"),
        ({"identifiers": {"size": 1}}, "'size' must be int from 2 to 65,536, got 1"),
        ({"collaborative": {}}, "collaborative of model 'gensar': give either a model"),
        ({"collaborative": {"use": "sasrec", "file": "x"}}, "collaborative of model 'gensar': give either a model"),
        ({"doc2query": "x", "tasks_trained": {"adhoc": 0}}, "`doc2query` writes the examples of adhoc"),
    ],
)
def test_wrong_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        build(load().models["gensar"], params)


def test_nothing_to_train_on(tmp_path: Path) -> None:
    data = checkerboard(n_items=6, n_users=12, tasks=["search"])
    with pytest.raises(BenchmarkError, match="no training example for any of the tasks"):
        fitted(tmp_path, data, tasks_trained={"nsip": 0, "desc2id": 0, "id2desc": 0})


def test_a_request_of_nobody_is_answered(tmp_path: Path) -> None:
    model, _ = fitted(tmp_path)
    for task in TASKS:
        assert (model.rank(make_requests([[]], task=task), 2).items != PAD).all()
