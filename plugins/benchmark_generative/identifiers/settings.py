"""How identifiers are made: the method, the sizes, what happens to collisions, and how an auto-encoder is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

from benchmark import BenchmarkError

Method = Literal["rqvae", "rkmeans", "hkmeans", "vqvae", "lsh", "random"]
Collisions = Literal["extra", "sinkhorn", "nearest"]
IN_USE = 0.8
"""Share of every codebook that Rajput 2023 wants used (4.1.3)."""


def reachable(n: int, size: int) -> float:
    """The use of a codebook to wait for: what the paper has, or half of what so few items could reach."""
    return min(IN_USE, 0.5 * n / size)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How an auto-encoder is built and trained; the defaults reach few collisions in a minute on one core."""

    hidden: tuple[int, ...] = (512, 256, 128)
    """Widths between the vectors and the latent; the decoder has them in the other order."""
    latent: int = 32
    optimizer: Literal["adamw", "adagrad"] = "adamw"
    """Neither has weight decay, so that adamw is Adam; adagrad's sums of squares start at 0.1, as in TensorFlow and
    optax, not at torch's 0."""
    learning_rate: float = 1e-3
    codebook_rate: float = 0.03
    """Learning rate of the codebooks. With the encoder's they lag behind its latents, and items collide."""
    batch_size: int = 1024
    steps: int = 3600
    """At most so many batches; training ends earlier by the next two. Every item is in one batch of a pass; codes that
    a pass did not use start again after it."""
    enough: float | None = 0.03
    """End when at most this share of the items shares its codes with another, four fifths of every codebook are in use,
    and reconstructions hardly improve. None: train all steps."""
    patience: int = 600
    """End when neither the share of items in collision nor the reconstructions have improved for so many steps."""
    start: Literal["all", "batch"] = "all"
    """What the codebooks start from: k-means over all items, or over the first batch as in Rajput 2023."""
    scale: Literal["number", "length"] = "number"
    """Vectors are centred and divided by one number, so that their numbers have a mean square of 1, or their squared
    length has a mean of 1, as the vectors of text encoders have."""
    reduction: Literal["sum", "mean"] = "sum"
    """Losses of squared norms, as the papers write them, or of means over widths and levels, as the authors' code of
    GenSAR and LC-Rec has them."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of training; auto is bf16 on a GPU and fp32 elsewhere, whatever CPU it is: the same seed gives other codes in
    each. Codes are always assigned in fp32."""

    def __post_init__(self) -> None:
        self._whole("latent", "batch_size", "steps", "patience")
        self._require(all(w >= 1 for w in self.hidden), "hidden", "widths are at least 1")
        self._require(self.latent >= 1, "latent", "it is at least 1")
        self._require(self.optimizer in ("adamw", "adagrad"), "optimizer", "known are adamw, adagrad")
        self._require(self.learning_rate > 0, "learning_rate", "it is above 0")
        self._require(self.codebook_rate > 0, "codebook_rate", "it is above 0")
        self._require(self.batch_size >= 1, "batch_size", "it is at least 1")
        self._require(self.steps >= 1, "steps", "it is at least 1")
        self._require(self.enough is None or 0 <= self.enough <= 1, "enough", "it is a share from 0 to 1, or None")
        self._require(self.patience >= 1, "patience", "it is at least 1")
        self._require(self.start in ("all", "batch"), "start", "known are all, batch")
        self._require(self.scale in ("number", "length"), "scale", "known are number, length")
        self._require(self.reduction in ("sum", "mean"), "reduction", "known are sum, mean")
        self._require(self.precision in ("auto", "fp32", "bf16"), "precision", "known are auto, fp32, bf16")

    def on(self, device: str) -> Self:
        """The settings with the precision that `auto` means on a device."""
        auto: Literal["bf16", "fp32"] = "bf16" if device.partition(":")[0] == "cuda" else "fp32"
        return replace(self, precision=auto) if self.precision == "auto" else self

    def _require(self, holds: bool, name: str, wanted: str) -> None:
        if not holds:
            raise BenchmarkError(f"identifiers were asked for with {name}={getattr(self, name)!r}; {wanted}.")

    def _whole(self, *names: str) -> None:
        for name in names:
            self._require(type(getattr(self, name)) is int, name, "it is a whole number")


@dataclass(frozen=True)
class Settings(Training):
    """`levels` codes of `size` values each, one size per level where a tuple is given (4, 16, 256 in Figure 4).

    What `Training` has, and `beta`, is about `rqvae` and `vqvae`. The paper's own values (Rajput 2023, 4.1.3) are those
    of the profile `paper` of the suite tiger2023.
    """

    method: Method = "rqvae"
    levels: int = 3
    size: int | tuple[int, ...] = 256
    collisions: Collisions = "extra"
    """What makes colliding ids unique: an extra token (3.1.3), or another last code, chosen by Sinkhorn (LC-Rec) or the
    nearest that is free (of lsh: with the bits turned whose planes are nearest); what has equal codes even then, the
    extra token."""
    components: int | None = 32
    """rkmeans: how many principal components of the vectors are clustered; None: the vectors as they are, as in GRID.
    Residuals of few items in many dimensions are almost orthogonal, and k-means leaves most of them in one cluster."""
    normalize: bool = False
    """rkmeans: scale the residuals of every level to length 1, as GRID does."""
    iterations: int = 25
    """rkmeans, hkmeans: rounds of k-means, at most."""
    beta: float = 0.25
    """Weight of the commitment term."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require = self._require
        self._whole("levels", "iterations")
        require(self.method in get_args(Method), "method", f"known are {', '.join(get_args(Method))}")
        require(self.levels >= 1, "levels", "there is at least one")
        sizes = (self.size,) if isinstance(self.size, int) else self.size
        require(
            isinstance(self.size, int) or len(self.size) == self.levels,
            "size",
            f"give one number, or one for each of the {self.levels} levels",
        )
        require(all(2 <= s <= 1 << 16 for s in sizes), "size", "a level has 2 to 65,536 codes")
        require(
            self.method != "lsh" or all(s & (s - 1) == 0 for s in sizes),
            "size",
            "lsh has h hyperplanes per level and so 2**h codes: give a power of two",
        )
        require(self.collisions in get_args(Collisions), "collisions", f"known are {', '.join(get_args(Collisions))}")
        require(
            self.collisions == "extra" or self.method in ("rqvae", "rkmeans", "vqvae", "lsh"),
            "collisions",
            f"{self.method} has no codebook of its last level to choose another code from; use 'extra'",
        )
        require(self.components is None or self.components >= 1, "components", "it is at least 1, or None")
        require(self.iterations >= 1, "iterations", "it is at least 1")
        require(
            self.method != "vqvae" or self.latent >= self.levels, "latent", "vqvae splits it into one part per level"
        )
        require(self.beta >= 0, "beta", "it is not negative")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return (self.size,) * self.levels if isinstance(self.size, int) else self.size


@dataclass(frozen=True)
class JointSettings(Training):
    """Two identifiers per item of `shared` codes that are the same in both and `specific` codes of its own (Shi 2025,
    3.2: L_m, L_n), `size` values each.

    What the paper says is the default (A.4), but for the widths of the networks, the codebooks' learning rate, the
    steps and the stop rule; the paper's own values are those of the profile `paper` of the suite gensar2025. `latent`
    is d: shared code embeddings have 2 d numbers, specific ones d.

    Both kinds of vectors are centred, each kind is divided by a number of its own (`scale`), and then they stand side
    by side; the paper says nothing of their scales. With scale `number` and reduction `sum` a kind thus weighs as much
    as its vectors are wide; with `number` and `mean`, or `length` and `sum`, both weigh the same.
    """

    hidden: tuple[int, ...] = (256, 128)
    steps: int = 5000
    shared: int = 2
    specific: int = 2
    size: int = 256
    alpha: float = 0.25
    """Weight of the commitment terms (equation 9)."""
    collisions: Collisions = "nearest"
    """What makes colliding ids unique, of which the paper says nothing: another last specific code, the nearest that is
    free or one chosen by Sinkhorn, as in the authors' code; what has equal codes even then, an extra token. Or the
    extra token alone, which all items then have."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("shared", "specific", "size")
        self._require(self.shared >= 1, "shared", "there is at least one level")
        self._require(self.specific >= 1, "specific", "there is at least one level")
        self._require(2 <= self.size <= 1 << 16, "size", "a level has 2 to 65,536 codes")
        self._require(self.alpha >= 0, "alpha", "it is not negative")
        known = get_args(Collisions)
        self._require(self.collisions in known, "collisions", f"known are {', '.join(known)}")

    @property
    def levels(self) -> int:
        """Codes of one identifier."""
        return self.shared + self.specific
