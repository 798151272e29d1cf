"""Writes the generated parts of the README: `python tests/write_readme.py [results/SUITE/leaderboard.json …]`.

The help and the file list always; the leaderboards of penha2024, tiger2023 and gensar2025 where they are given.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def first_sentence(path: Path) -> str:
    """What a module says of itself, up to the first full stop that ends a sentence."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", paragraph)[0]


def files() -> str:
    """The file list, a row per module."""
    modules = sorted([*(ROOT / "benchmark").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
    rows = [f"| `{path.relative_to(ROOT)}` | {first_sentence(path)} |" for path in modules]
    return "\n".join(["| file | what it holds |", "| --- | --- |", *rows])


def excerpt(board: dict[str, Any]) -> str:
    """R@30 of every model by task and slice, with the paper's value for all items."""
    rows = {(r["task"], r["model"], r["slice"]): r for r in board["rows"] if r["metric"] == "R@30"}
    won: dict[tuple[str, str, str], list[str]] = {}
    for test in board["comparisons"]:
        if test["metric"] == "R@30":
            better = test["significant"] and test["difference"] > 0
            mark = ("‡¹" if test["one_fit"] else "‡") if better else ""
            won.setdefault((test["task"], test["model"], test["slice"]), []).append(mark)
    lines = []
    for task in ("recommendation", "search"):
        lines += [f"| {task}, R@30 | all | head | torso | paper, all |", "| --- | ---: | ---: | ---: | ---: |"]
        for model in dict.fromkeys(m for t, m, _ in rows if t == task):
            cells = [
                f"{rows[task, model, part]['mean']:.3f}{marked(won.get((task, model, part), ['']))}"
                for part in ("all", "head", "torso")
            ]
            published = rows[task, model, "all"]["published"]
            said = format(published["value"], ".3f") if published else ""
            lines.append(f"| {model} | {' | '.join(cells)} | {said} |")
        lines.append("")
    return "\n".join([*lines, decided(board["claims"])])


def marked(marks: Sequence[str]) -> str:
    """‡ where a model is significantly above all that it was compared with, ‡¹ where that is about one fit."""
    return max(marks, key=len) if all(marks) else ""


def excerpt_of_tiger(board: dict[str, Any]) -> str:
    """R@10 and nDCG@10 of every model, and the claims that hold and fail."""
    rows = {(r["dataset"], r["model"], r["metric"]): r["mean"] for r in board["rows"]}
    lines = ["| model | R@10 | nDCG@10 |", "| --- | ---: | ---: |"]
    for dataset, model in dict.fromkeys((d, m) for d, m, _ in rows):
        name = model if dataset == "ML" else f"{model}, with unseen items"
        lines.append(f"| {name} | {rows[dataset, model, 'R@10']:.3f} | {rows[dataset, model, 'nDCG@10']:.3f} |")
    said = by_verdict(board["claims"], lambda where: "" if where["metric"] == "R@10" else f"{where['metric']} ")
    return "\n".join(
        [*lines, "", "Claims, mostly of Tables 1 and 3, with the difference in R@10 measured here:", "", *said]
    )


VERDICTS = ("holds", "holds for this fit", "fails", "fails for this fit", "undecided", "not testable")
JOINT = {
    "recommendation": ("nDCG@10", "HR@10", "HR@10|pop99-history"),
    "search": ("nDCG@10", "HR@10", "HR@1|bm25-99"),
}
"""What the README shows of gensar2025."""


def excerpt_of_gensar(board: dict[str, Any]) -> str:
    """Every model in both tasks, and the claims that hold and fail."""
    rows = {(r["model"], r["task"], r["metric"]): r["mean"] for r in board["rows"]}
    columns = [(task, metric) for task, metrics in JOINT.items() for metric in metrics]
    names = [f"{task[:3] if task == 'recommendation' else task} {metric}" for task, metric in columns]
    lines = [f"| model | {' | '.join(name.replace('|', chr(92) + '|') for name in names)} |"]
    lines.append("| --- |" + " ---: |" * len(columns))
    for model in dict.fromkeys(model for model, _, _ in rows):
        cells = [f"{rows[model, *c]:.3f}" if (model, *c) in rows else "" for c in columns]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    said = by_verdict(
        board["claims"], lambda where: f"{'search' if where['task'] == 'search' else 'rec'} {where['metric']} "
    )
    return "\n".join([*lines, "", "Claims, with the difference measured here:", "", *said])


def by_verdict(claims: Sequence[dict[str, Any]], metric: Callable[[dict[str, Any]], str]) -> list[str]:
    """A line per verdict with its claims, the metric of each as `metric` says it, and the difference."""
    verdicts: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
    for claim in claims:
        difference = claim["measured"]["difference"]
        measured = claim["reason"] if difference is None else f"{difference:+.3f}"
        verdicts[claim["verdict"]].append(f"{claim['expect']} ({metric(claim['where'])}{measured})")
    return [f"- {verdict}: {'; '.join(texts)}" for verdict, texts in verdicts.items() if texts]


def decided(claims: list[dict[str, Any]]) -> str:
    """The claims of the paper by verdict, undecided ones about the joint model with what was seen and could be seen."""
    verdicts = {verdict: [c for c in claims if c["verdict"] == verdict] for verdict in VERDICTS}
    counts = [f"{len(some)} {verdict}" for verdict, some in verdicts.items() if some]
    texts = [f"Of {len(claims)} claims, mostly of Table 5: {', '.join(counts)}."]
    for verdict in ("fails", "fails for this fit"):
        texts += [
            f"- {verdict}: {c['text']} ({c['expect']}, {c['measured']['difference']:+.3f})" for c in verdicts[verdict]
        ]
    texts += [f"- not testable: {c['text']} ({c['expect']}: {c['reason']})" for c in verdicts["not testable"]]
    for claim in verdicts["undecided"]:
        if claim["id"].startswith(("joint-helps-rec", "joint-helps-search")) and claim["resolvable"] is not None:
            seen = f"{claim['measured']['difference']:+.3f}; {claim['resolvable']:.3f} could be seen"
            texts.append(f"- undecided: {claim['text']} ({claim['expect']}, {claim['where']['slice']}, {seen})")
    return "\n".join([texts[0], "", *texts[1:]])


EXCERPTS = {"penha2024": excerpt, "tiger2023": excerpt_of_tiger, "gensar2025": excerpt_of_gensar}


def rendered(readme: str, boards: Sequence[dict[str, Any]] = ()) -> str:
    """The README with its generated parts as they should be now; a leaderboard that is not given stays as it is."""
    os.environ["COLUMNS"] = "100"
    from benchmark.cli import help_text

    parts = {"help": f"```\n{help_text()}```", "files": f"## Files\n\n{files()}"}
    parts |= {board["suite"]: EXCERPTS[board["suite"]](board) for board in boards}
    for name, content in parts.items():
        block = f"<!-- {name} -->\n\n{content}\n\n<!-- end of {name} -->"
        readme = re.sub(rf"<!-- {name} -->(.*?<!-- end of {name} -->)?", lambda _: block, readme, count=1, flags=re.S)  # noqa: B023
    return readme


if __name__ == "__main__":
    path = ROOT / "README.md"
    given = [json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]
    path.write_text(rendered(path.read_text(encoding="utf-8"), given), encoding="utf-8")
