"""Writes the generated parts of the README and of docs/: `python tests/write_readme.py [leaderboard.json …]`.

The keys of suites, help, folders and Python names always; the leaderboards of penha2024, tiger2023 and gensar2025
where they are given.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def first_sentence(path: Path) -> str:
    """What a module says of itself, up to the first full stop that ends a sentence."""
    return sentence(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))))


FOLDERS = {
    "benchmark": "The core: from a suite to its leaderboard. Its modules are in one order, and imports point one way.",
    "plugins": "The built-in plugins, a module or a folder each.",
    "suites": "The shipped suites; `published/` has the numbers that papers print.",
    "tests": "Tests by module; `plugins/`, `attacks/`, `benchmarks/`, and `third_party/`, a stranger's package.",
    "docs": "These pages.",
}
"""What holds more than modules."""


def folders() -> str:
    """The tree: a line for each folder of modules, and for each plugin of one module."""
    lines = []
    for top, text in FOLDERS.items():
        lines.append(f"{top + '/':<36}{text}")
        if top not in ("benchmark", "plugins"):
            continue
        single = (ROOT / top).glob("*.py") if top == "plugins" else ()
        for path in sorted([*(init.parent for init in (ROOT / top).glob("*/**/__init__.py")), *single]):
            name = "  " * (len(path.relative_to(ROOT).parts) - 1) + path.name + "/" * path.is_dir()
            said = first_sentence(path / "__init__.py" if path.is_dir() else path)
            lines.append(f"{name:<36}{said.replace('`', '')}")
    return "\n".join(["```text", *(line.replace("`", "") for line in lines), "```"])


def sentence(docstring: str | None) -> str:
    """A docstring up to the first full stop that ends a sentence, or a colon before a list."""
    paragraph = " ".join((docstring or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z`])", paragraph)[0]


def meanings(path: Path) -> dict[str, str]:
    """What a module says of its public names: the docstring of a class or a function, the string below a constant."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    said = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            said[node.name] = sentence(ast.get_docstring(node))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            below = after.value if isinstance(after, ast.Expr) else None
            text = below.value if isinstance(below, ast.Constant) and isinstance(below.value, str) else ""
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                named = target.elts if isinstance(target, ast.Tuple) else [target]
                said |= {name.id: sentence(text) for name in named if isinstance(name, ast.Name)}
    return {name: text for name, text in said.items() if not name.startswith("_")}


def _names(said: dict[str, str]) -> str:
    rows = [f"| `{name}` | {text.replace('|', chr(92) + '|')} |" for name, text in said.items()]
    return "\n".join(["| name | what it is |", "| --- | --- |", *rows])


def public_names() -> dict[str, str]:
    """The public names of `benchmark` with what their modules say of them."""
    import benchmark

    homes = {home: meanings(ROOT / f"{home.replace('.', '/')}.py") for home in set(benchmark.HOME.values())}
    return {name: homes[benchmark.HOME[name]].get(name, "") for name in sorted(benchmark.__all__, key=str.lower)}


def names_for_tests() -> dict[str, str]:
    """The functions of `benchmark.testing`, with those that it takes over from other modules."""
    path = ROOT / "benchmark" / "testing.py"
    own = {name: text for name, text in meanings(path).items() if name[0].islower() and text}
    imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module for node in imports for alias in node.names if alias.asname == alias.name}
    return own | {name: meanings(ROOT / f"{home.replace('.', '/')}.py")[name] for name, home in homes.items()}


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
    return "\n".join([*lines, *primary(board)])


def excerpt_of_penha(board: dict[str, Any]) -> str:
    """What the README shows, and all claims."""
    return "\n".join([excerpt(board), "", *decided(board["claims"])])


def _mean(row: dict[str, Any]) -> str:
    """The mean, with the standard deviation over seeds where there are several."""
    return f"{row['mean']:.3f}" + (f" ± {row['sd']:.3f}" if row["sd"] is not None else "")


def primary(board: dict[str, Any]) -> list[str]:
    """The comparisons of the suite's own question, a line each."""
    lines = ["| the suite's own question | difference | 95 % interval | Holm p | resolvable |"]
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
"""What the page of gensar2025 shows."""


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


def decided(claims: Sequence[dict[str, Any]]) -> list[str]:
    """The number of claims by verdict, then a table of all, in the order of the verdicts."""
    order = sorted(claims, key=lambda claim: VERDICTS.index(claim["verdict"]))
    counts = Counter(claim["verdict"] for claim in order)
    lines = [f"{len(claims)} claims, mostly of Table 5. {'; '.join(f'{v}: {n}' for v, n in counts.items())}.", ""]
    lines += ["| verdict | claim | expected | where | difference | resolvable |"]
    lines += ["| --- | --- | --- | --- | ---: | ---: |"]
    for claim in order:
        where, difference, least = claim["where"], claim["measured"]["difference"], claim["resolvable"]
        why = f" ({claim['reason']})" if claim["reason"] else ""
        place = f"{where['task']} {where['slice']} {where['metric']}".replace("|", r"\|")
        numbers = ("" if difference is None else f"{difference:+.3f}", "" if least is None else f"{least:.3f}")
        cells = [claim["verdict"] + why, claim["text"], f"`{claim['expect']}`", place, *numbers]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


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


KEYS = ROOT / "docs" / "suite-keys.md"
EXCERPTS = {"penha2024": excerpt_of_penha, "tiger2023": excerpt_of_tiger, "gensar2025": excerpt_of_gensar}
"""What the page of each suite shows."""


def layers() -> str:
    """The floors of the core, the highest first, as tests/test_architecture.py holds them."""
    from test_architecture import floors

    lines = [f"{number:>2}  {'  '.join(names)}" for number, names in enumerate(floors(), start=1)]
    return "\n".join(["```text", *reversed(lines), "```"])


def pages() -> list[Path]:
    """The README and all pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rendered(page: Path, boards: Sequence[dict[str, Any]] = ()) -> str:
    """A page with its generated parts as they should be now; a leaderboard that is not given stays as it is."""
    os.environ["COLUMNS"] = "100"
    from benchmark.cli import help_text

    parts = {"help": f"```text\n{help_text()}```", "folders": folders(), "layers": layers()}
    parts |= {"names": _names(public_names()), "testing": _names(names_for_tests())}
    excerpts = {"penha2024": excerpt} if page.name == "README.md" else EXCERPTS
    parts |= {board["suite"]: excerpts[board["suite"]](board) for board in boards if board["suite"] in excerpts}
    text = page.read_text(encoding="utf-8")
    for name, content in parts.items():
        block = f"<!-- {name} -->\n\n{content}\n\n<!-- end of {name} -->"
        text = re.sub(rf"<!-- {name} -->.*?<!-- end of {name} -->", lambda _: block, text, flags=re.S)  # noqa: B023
    return text


if __name__ == "__main__":
    given = [json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]
    KEYS.write_text(suite_keys_page(), encoding="utf-8")
    for page in pages():
        page.write_text(rendered(page, given), encoding="utf-8")
