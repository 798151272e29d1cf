"""MovieLens: ratings as recommendation, and genres, decades and tags as search queries (Penha 2024, section 5)."""

from __future__ import annotations

import gzip
import importlib.util
import io
import itertools
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import BenchmarkError, Catalog, Log, MissingDataError, Searches, hookimpl, stable_hash, tie_break

if TYPE_CHECKING:
    import pandas as pd

Variant = Literal["ml-100k", "ml-latest-small", "ml-1m", "ml-20m", "ml-25m"]
QueryKind = Literal["genres", "genre-pairs", "decades", "genre-decades", "tags", "genome"]
HOME = "https://grouplens.org/datasets/movielens"
KINDS: Mapping[str, tuple[QueryKind, ...]] = {
    "ml-100k": ("genres", "genre-pairs", "decades", "genre-decades"),
    "ml-latest-small": ("genres", "genre-pairs", "decades", "genre-decades", "tags"),
    "ml-1m": ("genres", "genre-pairs", "decades", "genre-decades"),
    "ml-20m": ("genres", "genre-pairs", "decades", "genre-decades", "tags", "genome"),
    "ml-25m": ("genres", "genre-pairs", "decades", "genre-decades", "tags", "genome"),
}
NO_GENRE = {"", "unknown", "(no genres listed)"}


@hookimpl
def benchmark_datasets() -> dict[str, str]:
    return {"movielens": "benchmark_movielens:movielens"}


def movielens(
    variant: Variant = "ml-100k",
    path: str = "",
    queries: list[QueryKind] | None = None,
    items: Literal["both", "all"] = "both",
    genome_relevance: float = 0.8,
    min_interactions: int = 0,
    searches: bool | Literal["tags"] = False,
    search_share: float = 1.0,
    seed: int = 0,
) -> Log:
    """A MovieLens data set: every rating, whatever its value, is an interaction; genres, decades and tags are queries.

    With `searches: true` it is a joint log, made as Shi 2025 (A.1) makes one from the Amazon reviews: a rating is also
    the click of a search by that user at that time, with one of the film's queries; a hash of user, film and `seed`
    chooses the ratings and the queries. No user ever typed one of them, so this is a smoke test of joint models, and a
    remark says so. With `searches: tags` it is a joint log of what users did: a user's tag for a film is a search with
    these words that ended in a click on the film. A user rates and tags a film some seconds or minutes apart: see
    `copies_within` in the protocol. In both kinds of log the judgements only name other films relevant to a query.

    Args:
        variant: ml-100k comes with the installed recbole package; the others are files of GroupLens.
        path: the official zip, or the folder with its files (each may be gzipped); empty: `<variant>` or
            `<variant>.zip` in the folder that the environment variable BENCHMARK_DATA names.
        queries: kinds of queries; by default all that the variant has: "Comedy" (genres), "Action Comedy"
            (genre-pairs), "1990s" (decades), "Comedy 1990s" (genre-decades), a word that users gave to films (tags), a
            tag whose genome score for the film is at least `genome_relevance` (genome). Texts that differ only in case
            are one query.
        items: "both" keeps items that have a rating and a query, as Penha 2024 (section 5) does.
        genome_relevance: 0-1; the paper does not state its threshold.
        min_interactions: films with fewer ratings are left out; the paper does not state how it arrives at 20k items.
        searches: true: ratings are searches too. tags: the tags that users gave to films are their searches, and
            queries of the kind tags; variants without tags are refused.
        search_share: above 0, at most 1; with `searches: true`, the share of the ratings that are searches too. A film
            without a query is never searched for.
        seed: chooses them; used with `searches: true` only.

    Raises MissingDataError if the data set is not on this machine, BenchmarkError if one of its files is missing, the
    variant lacks a kind of query, or no film can be searched for.
    """
    if variant not in KINDS:
        raise BenchmarkError(f"movielens has no variant '{variant}'. Known: {', '.join(KINDS)}.")
    kinds = KINDS[variant] if queries is None else tuple(queries)
    for kind in kinds:
        if kind not in KINDS[variant]:
            others = [v for v in KINDS if kind in KINDS[v]]
            hint = f"Variants with it: {', '.join(others)}." if others else ""
            raise BenchmarkError(
                f"movielens {variant} has no queries of the kind '{kind}'. It has {', '.join(KINDS[variant])}. {hint}"
            )
    if not 0 <= genome_relevance <= 1:
        raise BenchmarkError(f"movielens genome_relevance is {genome_relevance}; give a number from 0 to 1.")
    if min_interactions < 0:
        raise BenchmarkError(f"movielens min_interactions is {min_interactions}; give 0 or more.")
    if searches == "tags" and "tags" not in KINDS[variant]:
        with_tags = ", ".join(v for v in KINDS if "tags" in KINDS[v])
        raise BenchmarkError(
            f"movielens {variant} has no tags, so it has no searches. Variants with tags: {with_tags}; "
            "`searches: true` makes searches from ratings by a hash, for a smoke test."
        )
    if searches == "tags" and "tags" not in kinds:
        kinds = (*kinds, "tags")
    if searches == "tags" and search_share != 1:
        raise BenchmarkError(
            "movielens search_share is for `searches: true`; with tags every tag is a search. Remove it."
        )
    if not 0 < search_share <= 1:
        raise BenchmarkError(f"movielens search_share is {search_share}; give a share above 0 and at most 1.")
    source = _source(variant, path)
    ratings, films = _ratings(variant, source), _films(variant, source)
    judgements = _judgements(films, kinds, source, genome_relevance)
    facts: dict[str, object] = {"source": f"{HOME}, {variant}", "query_kinds": list(kinds)}
    if min_interactions:
        enough = films["film"].map(ratings["film"].value_counts()).fillna(0) >= min_interactions
        facts |= {"min_interactions": min_interactions, "films_with_fewer_ratings": int((~enough).sum())}
        films = films[enough]
    log = _log(ratings, films, judgements, items, facts)
    if searches == "tags":
        return _tagged(log, source)
    return _searched(log, search_share, seed) if searches else log


class _Source:
    """The files of one variant, in a folder or in a zip, gzipped or not."""

    def __init__(self, variant: str, place: Path) -> None:
        self.variant, self.place = variant, place

    def open(self, name: str) -> BinaryIO:
        if self.place.is_file():
            with zipfile.ZipFile(self.place) as archive:
                for member in archive.namelist():
                    if member.rsplit("/", 1)[-1] == name:
                        return io.BytesIO(archive.read(member))
        elif (self.place / name).is_file():
            return (self.place / name).open("rb")
        elif (self.place / f"{name}.gz").is_file():
            try:
                return io.BytesIO(gzip.decompress((self.place / f"{name}.gz").read_bytes()))
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise BenchmarkError(
                    f"{self.place / name}.gz is cut off or damaged ({error}). Get it again."
                ) from error
        raise BenchmarkError(
            f"movielens {self.variant} needs the file {name}, which is not in {self.place}. "
            f"It is part of {self.variant}.zip from {HOME}."
        )


def _source(variant: str, path: str) -> _Source:
    if path:
        place = Path(path).expanduser()
        if place.is_dir() or (place.is_file() and zipfile.is_zipfile(place)):
            return _Source(variant, place)
        what, error = ("is not a zip file", BenchmarkError) if place.is_file() else ("does not exist", MissingDataError)
        raise error(
            f"movielens {variant}: the path {place} {what}. "
            f"Give {variant}.zip from {HOME}, or the folder with its files."
        )
    if variant == "ml-100k":
        package = importlib.util.find_spec("recbole")  # importing it would take seconds
        for folder in (package.submodule_search_locations or []) if package else []:
            if (Path(folder) / "dataset_example" / variant).is_dir():
                return _Source(variant, Path(folder) / "dataset_example" / variant)
        raise MissingDataError(
            "movielens ml-100k comes with the package recbole, which is not installed. "
            f"Install it with: pip install 'genrec-benchmark[movielens]', or give path: the ml-100k.zip from {HOME}."
        )
    data = os.environ.get("BENCHMARK_DATA", "")
    for place in (Path(data) / variant, Path(data) / f"{variant}.zip") if data else ():
        if place.exists():
            return _Source(variant, place)
    problem = f"is not in {data} (BENCHMARK_DATA)" if data else "has no path"
    raise MissingDataError(
        f"movielens {variant} {problem}. Get {variant}.zip from {HOME} and give params: {{path: …/{variant}.zip}}, "
        "or put it into a folder that the environment variable BENCHMARK_DATA names."
    )


def _ratings(variant: str, source: _Source) -> pd.DataFrame:
    """Columns user, film, time."""
    import pandas as pd

    columns = ["user", "film", "time"]
    types = {"user": "int32", "film": "int32", "time": "int64"}
    if variant == "ml-1m":  # 1::1193::5::978300760; pandas is slow with a separator of two characters
        with source.open("ratings.dat") as file:
            return pd.read_csv(file, sep=":", header=None, usecols=[0, 2, 6]).set_axis(columns, axis=1).astype(types)
    if variant == "ml-100k" and source.place.is_dir() and (source.place / "ml-100k.inter").is_file():
        with source.open("ml-100k.inter") as file:
            return pd.read_csv(file, sep="\t", usecols=[0, 1, 3]).set_axis(columns, axis=1).astype(types)
    if variant == "ml-100k":
        with source.open("u.data") as file:
            return pd.read_csv(file, sep="\t", header=None, usecols=[0, 1, 3]).set_axis(columns, axis=1).astype(types)
    with source.open("ratings.csv") as file:
        table = pd.read_csv(file, usecols=["userId", "movieId", "timestamp"], engine="pyarrow")
    return table[["userId", "movieId", "timestamp"]].set_axis(columns, axis=1).astype(types)


def _films(variant: str, source: _Source) -> pd.DataFrame:
    """Columns film, title (with the year), year (0: unknown), genres (a tuple)."""
    import pandas as pd

    if variant == "ml-1m":
        with source.open("movies.dat") as file:
            rows = [line.split("::") for line in file.read().decode("latin-1").splitlines()]
        films = pd.DataFrame(rows, columns=["film", "title", "genres"])
    elif variant == "ml-100k" and source.place.is_dir() and (source.place / "ml-100k.item").is_file():
        with source.open("ml-100k.item") as file:
            films = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False, quoting=3)
        films = films.set_axis(["film", "title", "year", "genres"], axis=1)
        dated = films["year"].str.fullmatch(r"\d{4}")
        films["title"] = films["title"].where(~dated, films["title"] + " (" + films["year"] + ")")
        films["genres"] = films["genres"].str.replace(" ", "|")
    elif variant == "ml-100k":
        with source.open("u.genre") as file:
            names = [line.split("|")[0] for line in file.read().decode("latin-1").split()]
        with source.open("u.item") as file:
            rows = [line.split("|") for line in file.read().decode("latin-1").splitlines()]
        flags = [itertools.compress(names, map(int, row[5:])) for row in rows]
        films = pd.DataFrame(
            {"film": [r[0] for r in rows], "title": [r[1] for r in rows], "genres": map("|".join, flags)}
        )
    else:
        with source.open("movies.csv") as file:
            films = pd.read_csv(file, dtype=str, keep_default_na=False)
        films = films.set_axis(["film", "title", "genres"], axis=1)
    films["film"] = films["film"].astype("int32")
    films["year"] = films["title"].str.extract(r"\((\d{4})(?:[-–]\d*)?\)\s*$", expand=False).fillna("0").astype("int32")
    films["genres"] = [tuple(g for g in genres.split("|") if g not in NO_GENRE) for genres in films["genres"]]
    return films[["film", "title", "year", "genres"]]


def _judgements(films: pd.DataFrame, kinds: tuple[QueryKind, ...], source: _Source, threshold: float) -> pd.DataFrame:
    """Columns text, key (the case-folded text), film: the film is relevant to the query of this text."""
    import pandas as pd

    genres = films[["film", "year", "genres"]].explode("genres").dropna(subset="genres")
    decades = (films["year"] // 10 * 10).astype(str) + "s"
    tables = [pd.DataFrame({"text": pd.Series(dtype=str), "film": pd.Series(dtype="int32")})]
    if "genres" in kinds:
        tables.append(genres[["genres", "film"]])
    if "genre-pairs" in kinds:
        pairs = [(" ".join(pair), film) for film, names in zip(films["film"], films["genres"], strict=True)
                 for pair in itertools.combinations(sorted(names), 2)]  # fmt: skip
        tables.append(pd.DataFrame(pairs, columns=["text", "film"]))
    if "decades" in kinds:
        tables.append(pd.DataFrame({"text": decades, "film": films["film"]})[films["year"] > 0])
    if "genre-decades" in kinds:
        dated = genres[genres["year"] > 0]
        tables.append(pd.DataFrame({"text": dated["genres"] + " " + decades[dated.index], "film": dated["film"]}))
    if "tags" in kinds:
        with source.open("tags.csv") as file:
            tags = pd.read_csv(file, usecols=["movieId", "tag"], dtype={"tag": str}, keep_default_na=False)
        tables.append(tags[["tag", "movieId"]])
    if "genome" in kinds:
        with source.open("genome-scores.csv") as file:
            scores = pd.read_csv(file, engine="pyarrow")
        with source.open("genome-tags.csv") as file:
            names = pd.read_csv(file, dtype={"tag": str}, keep_default_na=False)
        scores = scores[scores["relevance"] >= threshold]
        tables.append(
            pd.DataFrame({"text": scores["tagId"].map(names.set_index("tagId")["tag"]), "film": scores["movieId"]})
        )
    table = pd.concat([t.set_axis(["text", "film"], axis=1) for t in tables], ignore_index=True)
    table["text"] = _words(table["text"])
    table["key"] = table["text"].str.casefold()
    table = table[table["key"] != ""]
    table["text"] = table.groupby("key")["text"].transform("first")  # a genre's spelling before a tag's
    return table.drop_duplicates(["key", "film"])


def _words(texts: pd.Series[str]) -> pd.Series[str]:
    return texts.str.strip().str.replace(r"\s+", " ", regex=True)


def _log(
    ratings: pd.DataFrame, films: pd.DataFrame, judgements: pd.DataFrame, items: str, facts: dict[str, object]
) -> Log:
    import pandas as pd

    kept = (
        films["film"].isin(ratings["film"]) & films["film"].isin(judgements["film"])
        if items == "both"
        else films["film"] >= 0
    )
    films = films[kept].reset_index(drop=True)
    numbers = pd.Index(films["film"])
    facts["items_left_out"] = int((~kept).sum())
    ratings = ratings[ratings["film"].isin(films["film"])]
    judgements = judgements[judgements["film"].isin(films["film"])]
    user, users = pd.factorize(ratings["user"], sort=True)
    query, keys = pd.factorize(judgements["key"], sort=True)
    texts = judgements.drop_duplicates("key").set_index("key")["text"].loc[keys]
    names = films["genres"].map(", ".join)
    return Log(
        catalog=Catalog(
            ids=films["film"].astype(str).to_numpy(dtype=object),
            texts=(films["title"] + (". " + names).where(names != "", "")).to_numpy(dtype=object),
            attributes=pd.DataFrame({"title": films["title"], "year": films["year"], "categories": films["genres"]}),
        ),
        users=users.astype(str).to_numpy(dtype=object),
        user=user.astype(np.int32),
        item=numbers.get_indexer(ratings["film"]).astype(np.int32),
        time=ratings["time"].to_numpy(),
        query_ids=keys.to_numpy(dtype=object),
        queries=texts.to_numpy(dtype=object),
        query=query.astype(np.int32),
        relevant=numbers.get_indexer(judgements["film"]).astype(np.int32),
        grade=np.ones(len(query), dtype=np.float32),
        facts=facts,
    )


def _searched(log: Log, share: float, seed: int) -> Log:
    """The log with a share of its ratings as searches too, each with one of the film's queries."""
    order = np.lexsort((log.query, log.relevant))  # by film, then by query text
    counts = np.bincount(log.relevant, minlength=len(log.catalog))
    first = np.cumsum(counts) - counts

    def hashes(what: str) -> NDArray[np.uint64]:
        """One per rating, of its user, its film and the seed."""
        users = stable_hash(f"{seed} {what} {user}" for user in log.users)
        return tie_break(users[log.user], stable_hash(log.catalog.ids)[log.item])

    row = np.flatnonzero((counts[log.item] > 0) & (hashes("search") / 2.0**64 <= share))
    if not len(row):
        raise BenchmarkError(
            "movielens has nothing to search for: no film with a rating has a query. Give queries: [genres, decades], "
            "for example."
        )
    item = log.item[row]
    chosen = hashes("query")[row] % counts[item].astype(np.uint64)
    query = log.query[order[first[item] + chosen.astype(np.int64)]]
    facts = {
        **log.facts,
        "ratings_without_search": len(log.user) - len(row),
        "smoke_test": True,
        "remark": "every search is the copy of a rating with words that a hash chose: a smoke test of joint models",
    }
    return replace(log, searches=Searches(log.user[row], query, item, log.time[row]), facts=facts)


def _tagged(log: Log, source: _Source) -> Log:
    """The log with each tag that a user gave to one of its films as a search."""
    import pandas as pd

    with source.open("tags.csv") as file:
        columns = ["userId", "movieId", "tag", "timestamp"]
        tags = pd.read_csv(file, usecols=columns, dtype={"tag": str}, keep_default_na=False)
    keys = _words(tags["tag"]).str.casefold()
    item = pd.Index(log.catalog.ids).get_indexer(pd.Index(tags["movieId"].astype(str)))
    kept = (item >= 0) & (keys != "").to_numpy()
    if not kept.any():
        raise BenchmarkError(
            f"movielens {source.variant}: no film of the data set has a tag, so there are no searches. Lower "
            "min_interactions, if it is set."
        )
    user, users = pd.factorize(np.concatenate([log.users, tags["userId"].astype(str).to_numpy(dtype=object)[kept]]))
    searches = Searches(
        user=user[len(log.users) :].astype(np.int32),
        query=pd.Index(log.query_ids).get_indexer(pd.Index(keys[kept])).astype(np.int32),
        item=item[kept].astype(np.int32),
        time=tags["timestamp"].to_numpy()[kept].astype(np.int64),
    )
    return replace(log, users=users, searches=searches, facts={**log.facts, "tags_left_out": int((~kept).sum())})
