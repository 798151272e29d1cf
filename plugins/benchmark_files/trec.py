"""TREC collections: topics, qrels and documents, gzipped or not."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from benchmark import BenchmarkError
from benchmark_files.tables import Form, Table, Tables, ambiguous, check_keys, named, raw

PATTERNS = {
    "topics": r"topic|quer(y|ies)",
    "qrels": r"qrel",
    "documents": r"doc|collection|corpus",
}
ID_KEYS, TEXT_KEYS = ("docno", "docid", "doc_id", "_id", "id"), ("text", "contents", "body")


def read(folder: Path, names: Mapping[str, str], columns: Mapping[str, str], untimed: bool, form: Form) -> Tables:
    """A search-only collection. Each file is the one in `names`, or the only one whose name tells its role."""
    check_keys("names", names, list(PATTERNS))
    check_keys("columns", columns, [])
    if form != Form():
        raise BenchmarkError("data set 'files': sep and header are for the format tables; remove them.")
    topics, qrels, documents = (_only(folder, role, names) for role in PATTERNS)
    sources = sorted(p for p in documents.rglob("*") if p.is_file()) if documents.is_dir() else [documents]
    items = [pair for source in sources for pair in _documents(source)]
    return Tables(
        items=Table(documents.name, pd.DataFrame(items, columns=["id", "text"])),
        queries=Table(topics.name, pd.DataFrame(_topics(topics), columns=["id", "text"])),
        relevance=Table(qrels.name, _qrels(qrels)),
    )


def _only(folder: Path, role: str, names: Mapping[str, str]) -> Path:
    if role in names:
        return named(folder, role, names[role])
    files = [p for p in sorted(folder.iterdir()) if re.search(PATTERNS[role], p.name, re.IGNORECASE)]
    if len(files) == 1:
        return files[0]
    if files:
        raise ambiguous(folder, role, files)
    content = ", ".join(sorted(p.name for p in folder.iterdir())[:12]) or "nothing"
    raise BenchmarkError(
        f"{folder} has no file for the {role}; there is {content}. "
        f"Say what it is called with params: {{names: {{{role}: …}}}}."
    )


def _text(file: Path) -> str:
    content = raw(file)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # the older collections


def _documents(file: Path) -> Iterator[tuple[str, str]]:
    text = _text(file)
    if re.search(r"<DOC>", text[:100_000], re.IGNORECASE):
        for body in re.findall(r"<DOC>(.*?)</DOC>", text, re.IGNORECASE | re.DOTALL):
            number = re.search(r"<DOCNO>\s*(.*?)\s*</DOCNO>", body, re.IGNORECASE | re.DOTALL)
            if number is None:
                raise BenchmarkError(f"{file.name}: a document has no <DOCNO>; it begins with {body.strip()[:60]!r}.")
            yield number[1], _plain(body[: number.start()] + " " + body[number.end() :])
    elif text.lstrip().startswith("{"):
        for line, row in enumerate(text.split("\n"), 1):  # splitlines would also cut at U+2028 inside a string
            if row.strip():
                yield _json_document(file.name, line, row)
    else:
        yield from _tabbed(file.name, text)


def _json_document(file: str, line: int, row: str) -> tuple[str, str]:
    try:
        fields = json.loads(row)
        number = next(str(fields[key]) for key in ID_KEYS if key in fields)
        body = next(str(fields[key]) for key in TEXT_KEYS if key in fields)
    except (ValueError, TypeError, StopIteration) as error:
        raise BenchmarkError(
            f"{file}, line {line} is not a JSON object with an id ({', '.join(ID_KEYS)}) "
            f"and a text ({', '.join(TEXT_KEYS)})."
        ) from error
    return number, " ".join(f"{fields.get('title') or ''} {body}".split())


def _topics(file: Path) -> list[tuple[str, str]]:
    text = _text(file)
    if not re.search(r"<top>", text, re.IGNORECASE):
        return list(_tabbed(file.name, text))
    topics = []
    for body in re.findall(r"<top>(.*?)</top>", text, re.IGNORECASE | re.DOTALL):
        number = re.search(r"<num>\s*(?:Number:)?\s*([^\s<]+)", body, re.IGNORECASE)
        title = re.search(r"<title>\s*(?:Topic:)?\s*([^<]*)", body, re.IGNORECASE)
        if number is None or title is None:
            raise BenchmarkError(
                f"{file.name}: a topic has no <num> or no <title>; it begins with {body.strip()[:60]!r}."
            )
        topics.append((number[1], _plain(title[1])))
    return topics


def _tabbed(file: str, text: str) -> Iterator[tuple[str, str]]:
    for line, row in enumerate(text.split("\n"), 1):
        number, tab, body = row.rstrip("\r").partition("\t")
        if tab:
            yield number.strip(), " ".join(body.split())
        elif row.strip():
            raise BenchmarkError(f"{file}, line {line} has no tab between id and text: {row[:60]!r}.")


def _qrels(file: Path) -> pd.DataFrame:
    rows = [row.split() for row in _text(file).split("\n") if row.strip()]
    for line, row in enumerate(rows, 1):
        if len(row) != 4:
            raise BenchmarkError(f"{file.name}, line {line}: a judgement has four columns (query, 0, document, grade), "
                                 f"not {len(row)}.")  # fmt: skip
    return pd.DataFrame(rows, columns=["query", "iteration", "item", "grade"]).drop(columns="iteration")


def _plain(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())
