"""Writes docs/suite-keys.md and the README's generated parts: `python tests/write_readme.py [leaderboard.json …]`.

The keys, the help and the file list always; the leaderboards of penha2024, tiger2023 and gensar2025 where they are
given.
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
    """R@30 of every model by task and slice, without seen items too, and the suite's own question with its answer."""
    rows = {(r["task"], r["model"], r["slice"], r["metric"]): r for r in board["rows"]}
    marks: dict[tuple[str, str, str, str], list[str]] = {}
    for test in board["comparisons"]:
        better = test["significant"] and test["difference"] > 0
        mark = ("‡¹" if test["one_fit"] else "‡") if better else ""
        marks.setdefault((test["task"], test["model"], test["slice"], test["metric"]), []).append(mark)
    lines = []
    for task in ("recommendation", "search"):
        columns = [("all", "R@30"), ("head", "R@30"), ("torso", "R@30")]
        columns += [("all", "R@30|new")] * (task == "recommendation")
        names = [f"R@30, {part}" if metric == "R@30" else r"R@30\|new" for part, metric in columns]
        lines += [f"| {task} | {' | '.join(names)} | paper |", f"| --- |{' ---: |' * (len(columns) + 1)}"]
        for model in dict.fromkeys(m for t, m, *_ in rows if t == task):
            cells = [_mean(rows[task, model, *c]) + marked(marks.get((task, model, *c), [""])) for c in columns]
            published = rows[task, model, "all", "R@30"]["published"]
            printed = format(published["value"], ".3f") if published else ""
            lines.append(f"| {model} | {' | '.join(cells)} | {printed} |")
        lines.append("")
    return "\n".join([*lines, *primary(board), "", decided(board["claims"])])


def _mean(row: dict[str, Any]) -> str:
    """The mean, with the standard deviation over seeds where there are several."""
    return f"{row['mean']:.3f}" + (f" ± {row['sd']:.3f}" if row["sd"] is not None else "")


def primary(board: dict[str, Any]) -> list[str]:
    """The comparisons of the suite's own question, a line each."""
    lines = ["| the suite's own question | difference | 95 % interval | Holm p | could be seen |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for test in board["comparisons"]:
        if test["family"] == "primary":
            name = f"{test['model']} − {test['baseline']}, {test['task']} {test['metric']}"
            p = f"{test['p_corrected']:.3f}" if test["p_corrected"] >= 0.001 else "< .001"
            bounds = f"{test['low']:+.3f} to {test['high']:+.3f}"
            mark = "‡" * test["significant"] + "¹" * test["one_fit"]
            lines.append(f"| {name} | {test['difference']:+.3f}{mark} | {bounds} | {p} | {test['resolvable']:.3f} |")
    return lines


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
    counts = [f"{verdict}: {len(some)}" for verdict, some in verdicts.items() if some]
    texts = [f"{len(claims)} claims, mostly of Table 5. {'; '.join(counts)}."]
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


def suite_keys_page() -> str:
    """The reference of all keys of a suite file, a table for each group."""
    from benchmark.describe import REQUIRED, suite_keys

    groups: dict[str, list[str]] = {}
    for key in suite_keys():
        group, _, _ = key.name.rpartition(".")
        default = key.default if key.default in ("", REQUIRED) else f"`{key.default}`"
        cells = [f"`{key.name}`", key.type, default, key.meaning]
        groups.setdefault(group, []).append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    parts = [
        "# Keys of a suite file\n",
        "Generated from the schema; `benchmark list --suite-keys` prints the same. `[]` stands for each entry of a",
        "list, `*` for each task.\n",
    ]
    for group, rows in groups.items():
        parts += [f"## `{group}`" if group else "## The suite", ""]
        parts += ["| key | type | default | meaning |", "| --- | --- | --- | --- |", *rows, ""]
    return "\n".join(parts)


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
    (ROOT / "docs" / "suite-keys.md").write_text(suite_keys_page(), encoding="utf-8")
