"""How identifiers are made: the method, the sizes, what happens to collisions, and how an auto-encoder is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from annotated_types import Interval

from benchmark import BenchmarkError, Count, Positive, Share

Method = Literal["rqvae", "rkmeans", "hkmeans", "vqvae", "lsh", "random"]
Collisions = Literal["extra", "sinkhorn", "nearest"]
Kind = Literal["joint", "semantic", "collaborative"]
CodebookSize = Annotated[int, Interval(ge=2, le=1 << 16)]
COMMITMENT = 0.25
"""Weight of the commitment terms: beta of Rajput 2023 (4.1.3), alpha of Shi 2025 (equation 9; A.4)."""
IN_USE = 0.8
"""Share of every codebook that Rajput 2023 wants used (4.1.3)."""


def reachable(n: int, size: int) -> float:
    """The codebook use to train for: the paper's, or half of what n items could reach if they are few."""
    return min(IN_USE, 0.5 * n / size)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How an auto-encoder is built and trained; the defaults reach few collisions in a minute on one core."""

    hidden: tuple[Count, ...] = (512, 256, 128)
    """Widths between the vectors and the latent; reversed in the decoder."""
    latent: Count = 32
    optimizer: Literal["adamw", "adagrad"] = "adamw"
    """Neither has weight decay, so that adamw is Adam; adagrad's sums of squares start at 0.1, as in TensorFlow and
    optax, not at torch's 0."""
    learning_rate: Positive = 1e-3
    codebook_rate: Positive = 0.03
    """Learning rate of the codebooks. At the encoder's rate they lag behind its latents, and items collide."""
    batch_size: Count = 1024
    steps: Count = 3600
    """Most batches to train; `enough` and `patience` end training earlier. Codes that no item used in a whole pass
    restart."""
    enough: Share | None = 0.03
    """End when at most this share of items collides, four fifths of every codebook are in use, and reconstructions
    have stopped improving. None: train all steps."""
    patience: Count = 600
    """End when neither the share of colliding items nor the reconstructions have improved for this many steps."""
    start: Literal["all", "batch"] = "all"
    """Initialise codebooks by k-means over all items, or over the first batch as in Rajput 2023."""
    scale: Literal["number", "length"] = "number"
    """Vectors are centred and divided by one number: to a mean square of 1 per number, or to a mean squared length of
    1, like a text encoder's vectors."""
    reduction: Literal["sum", "mean"] = "sum"
    """Losses are squared norms, as in the papers, or means over widths and levels, as in the authors' code of GenSAR
    and LC-Rec."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of training; auto: bf16 on a GPU, fp32 on any CPU, so the same seed gives different codes on each. Codes are
    always assigned in fp32."""

    def on(self, device: str) -> Self:
        """The settings with the precision that `auto` means on a device."""
        auto: Literal["bf16", "fp32"] = "bf16" if device.partition(":")[0] == "cuda" else "fp32"
        return replace(self, precision=auto) if self.precision == "auto" else self


@dataclass(frozen=True)
class IdSettings(Training):
    """`levels` codes of `size` values each, or a tuple with one size per level (4, 16, 256 in Figure 4).

    The fields of `Training` apply to `rqvae` and `vqvae`. The paper's own values (Rajput 2023, 4.1.3) are in
    the profile `paper` of the suite tiger2023.
    """

    method: Method = "rqvae"
    levels: Count = 3
    size: CodebookSize | tuple[CodebookSize, ...] = 256
    collisions: Collisions = "extra"
    """How colliding IDs become unique: by an extra token (3.1.3), or by another last code, chosen by Sinkhorn (LC-Rec)
    or the nearest free one (lsh: flipping the bits whose planes are nearest). IDs that still collide get the extra
    token."""

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) and len(self.size) != self.levels:
            raise BenchmarkError(
                f"`size` is {self.size}; give one number, or one for each of the {self.levels} levels."
            )
        if self.method == "lsh" and any(size & (size - 1) for size in self.sizes):
            raise BenchmarkError(
                f"`size` is {self.size}; lsh has h hyperplanes per level and so 2**h codes: give a power of two."
            )
        if self.collisions != "extra" and self.method in ("hkmeans", "random"):
            raise BenchmarkError(
                f"`collisions` is {self.collisions!r}; {self.method} has no codebook of its last level to choose "
                "another code from; use 'extra'."
            )
        if self.method == "vqvae" and self.latent < self.levels:
            raise BenchmarkError(f"`latent` is {self.latent}; vqvae splits it into one part for each of the "
                                 f"{self.levels} levels.")  # fmt: skip

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return (self.size,) * self.levels if isinstance(self.size, int) else self.size


@dataclass(frozen=True)
class JointSettings(Training):
    """Two identifiers per item of `shared` codes that are the same in both and `specific` codes of its own (Shi 2025,
    3.2: L_m, L_n), `size` values each.

    Defaults are the paper's (A.4), except the widths of the networks, the codebooks' learning rate, the steps and the
    stopping rule; the paper's own values are in the profile `paper` of the suite gensar2025. `latent` is d: shared code
    embeddings have 2 d numbers, specific ones d.

    Each kind of vectors is centred and divided by its own number (`scale`), then both are concatenated; the paper does
    not mention scales. With scale `number` and reduction `sum`, a kind weighs in proportion to its width; with `number`
    and `mean`, or `length` and `sum`, both weigh the same.
    """

    kind: Kind = "joint"
    """Made from both kinds of vectors, or from the semantic or the collaborative ones alone (4.4.1)."""
    hidden: tuple[Count, ...] = (256, 128)
    steps: Count = 5000
    shared: Count = 2
    specific: Count = 2
    size: CodebookSize = 256
    collisions: Collisions = "nearest"
    """How colliding IDs become unique, which the paper does not say: by another last specific code, the nearest free
    one or, as in the authors' code, one chosen by Sinkhorn; IDs that still collide get an extra token. `extra`: by an
    extra token alone, which all items then have."""

    @property
    def levels(self) -> int:
        """Codes of one identifier."""
        return self.shared + self.specific
