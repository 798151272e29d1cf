"""What learns beats popularity on ml-100k, in the laptop profile of each suite: significantly so over three fits.

One fit says too little: nDCG@10 of GenSAR had a standard deviation of .007 over fits in recommendation and of .025 in
search where it is .02 to .06 above popularity, so this is no test of `make test`. The comparison is the leaderboard's
own, over requests and fits. About twenty minutes on two cores; names of models choose some of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = {
    ("penha2024", "ML", "R@30"): [
        ("recommendation", "SASRec[CE]", "Pop_R"),
        ("recommendation", "BERT4Rec", "Pop_R"),
        ("recommendation", "Gen_R", "Pop_R"),
        ("search", "Gen_S", "Pop_S"),
    ],
    ("tiger2023", "ML", "R@10"): [("recommendation", "TIGER[rkmeans]", "Pop")],
    ("gensar2025", "ML-joint", "nDCG@10"): [
        ("recommendation", "GenSAR", "Pop_R"),
        ("search", "GenSAR", "Pop_S"),
    ],
}
"""(suite, data set, metric): (task, model, baseline)."""


def run(suite: str, dataset: str, models: set[str], seeds: int, results: Path, settings: list[str]) -> dict[str, Any]:
    """The leaderboard of these models' fits."""
    words = [word for model in sorted(models) for word in ("--only", f"{dataset}/{model}")]
    words += [word for setting in settings for word in ("--set", setting)]
    command = [
        sys.executable,
        "-m",
        "benchmark.cli",
        "run",
        str(ROOT / "suites" / f"{suite}.yaml"),
        "--tracking",
        "off",
    ]
    subprocess.run([*command, "--results", results, "--seeds", str(seeds), *words], check=True, stdout=sys.stderr)
    board: dict[str, Any] = json.loads((results / suite / "leaderboard.json").read_text())
    return board


def verdict(board: dict[str, Any], dataset: str, metric: str, task: str, model: str, baseline: str) -> bool:
    """Print both models' means with their spread over fits, and whether the difference is as asked for."""

    def only(entries: list[dict[str, Any]], **wanted: str) -> dict[str, Any]:
        wanted |= {"dataset": dataset, "task": task, "slice": "all", "metric": metric}
        (found,) = [entry for entry in entries if all(entry[key] == value for key, value in wanted.items())]
        return found

    test = only(board["comparisons"], model=model, baseline=baseline)
    for name in (model, baseline):
        row = only(board["rows"], model=name)
        print(f"{metric:8} {name:15} {row['mean']:.4f}  sd {row['sd'] or 0:.4f} over {row['seeds']} fits")
    p, flips = test["p_corrected"], test["p_permutation_corrected"]
    print(f"{task:14} {test['difference']:+.4f}  corrected p {p:.2g}, of sign flips {flips:.2g}")
    return bool(test["difference"] > 0 and test["significant"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="only these models (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="fits of each model (default: 3)")
    parser.add_argument("--results", type=Path, help="where results stay (default: nowhere)")
    parser.add_argument("--set", metavar="path=value", action="append", default=[], dest="settings")
    chosen = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for (suite, dataset, metric), questions in QUESTIONS.items():
            asked = [question for question in questions if not chosen.models or question[1] in chosen.models]
            if asked:
                models = {name for _, *pair in asked for name in pair}
                results = chosen.results or Path(folder)
                board = run(suite, dataset, models, chosen.seeds, results, chosen.settings)
                for question in asked:
                    good &= verdict(board, dataset, metric, *question)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
