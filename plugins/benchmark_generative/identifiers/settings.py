"""How identifiers are made: the method, the sizes, what happens to collisions, and how an auto-encoder is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from benchmark import BenchmarkError

Method = Literal["rqvae", "rkmeans", "hkmeans", "vqvae", "lsh", "random"]


@dataclass(frozen=True)
class Settings:
    """`levels` codes of `size` values each, one size per level where a tuple is given (4, 16, 256 in Figure 4).

    Fields from `hidden` on are those of `rqvae` and `vqvae`; their defaults reach few collisions in a minute on one
    core, and `PAPER` has the paper's values (Rajput 2023, 4.1.3).
    """

    method: Method = "rqvae"
    levels: int = 3
    size: int | tuple[int, ...] = 256
    collisions: Literal["extra", "sinkhorn"] = "extra"
    """What makes colliding ids unique: an extra token (3.1.3), or another last code, chosen by Sinkhorn (LC-Rec)."""
    components: int | None = 32
    """rkmeans: how many principal components of the vectors are clustered; None: the vectors as they are, as in GRID.
    Residuals of few items in many dimensions are almost orthogonal, and k-means leaves most of them in one cluster."""
    normalize: bool = False
    """rkmeans: scale the residuals of every level to length 1, as GRID does."""
    iterations: int = 25
    """rkmeans, hkmeans: rounds of k-means, at most."""
    hidden: tuple[int, ...] = (512, 256, 128)
    """Widths between the vectors and the latent; the decoder has them in the other order."""
    latent: int = 32
    beta: float = 0.25
    """Weight of the commitment term."""
    optimizer: Literal["adamw", "adagrad"] = "adamw"
    learning_rate: float = 1e-3
    codebook_rate: float = 0.03
    """Learning rate of the codebooks. With the encoder's they lag behind its latents, and items collide."""
    batch_size: int = 1024
    epochs: int = 300
    """At most so many; training ends earlier by the next two."""
    enough: float | None = 0.03
    """End when at most this share of the items shares its codes with another, four fifths of every codebook are in use,
    and reconstructions hardly improve. None: train all epochs."""
    patience: int = 50
    """End when neither the share of items in collision nor the reconstructions have improved for so many epochs."""
    start: Literal["all", "batch"] = "all"
    """What the codebooks start from: k-means over all items, or over the first batch as in the paper."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of training; auto is bf16 where the device multiplies it natively. Codes are always assigned in fp32."""

    def __post_init__(self) -> None:
        def require(holds: bool, name: str, wanted: str) -> None:
            if not holds:
                raise BenchmarkError(f"identifiers were asked for with {name}={getattr(self, name)!r}; {wanted}.")

        for name in ("levels", "iterations", "latent", "batch_size", "epochs", "patience"):
            require(type(getattr(self, name)) is int, name, "it is a whole number")
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
        require(self.collisions in ("extra", "sinkhorn"), "collisions", "known are extra, sinkhorn")
        require(
            self.collisions == "extra" or self.method in ("rqvae", "rkmeans", "vqvae"),
            "collisions",
            f"{self.method} has no codebook of its last level to choose another code from; use 'extra'",
        )
        require(self.components is None or self.components >= 1, "components", "it is at least 1, or None")
        require(self.iterations >= 1, "iterations", "it is at least 1")
        require(all(w >= 1 for w in self.hidden), "hidden", "widths are at least 1")
        require(self.latent >= 1, "latent", "it is at least 1")
        require(
            self.method != "vqvae" or self.latent >= self.levels, "latent", "vqvae splits it into one part per level"
        )
        require(self.beta >= 0, "beta", "it is not negative")
        require(self.optimizer in ("adamw", "adagrad"), "optimizer", "known are adamw, adagrad")
        require(self.learning_rate > 0, "learning_rate", "it is above 0")
        require(self.codebook_rate > 0, "codebook_rate", "it is above 0")
        require(self.batch_size >= 1, "batch_size", "it is at least 1")
        require(self.epochs >= 1, "epochs", "it is at least 1")
        require(self.enough is None or 0 <= self.enough <= 1, "enough", "it is a share from 0 to 1, or None")
        require(self.patience >= 1, "patience", "it is at least 1")
        require(self.start in ("all", "batch"), "start", "known are all, batch")
        require(self.precision in ("auto", "fp32", "bf16"), "precision", "known are auto, fp32, bf16")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return (self.size,) * self.levels if isinstance(self.size, int) else self.size


PAPER = Settings(
    optimizer="adagrad",
    learning_rate=0.4,
    codebook_rate=0.4,
    epochs=20_000,
    enough=None,
    start="batch",
    precision="fp32",
)
"""RQ-VAE as in Rajput 2023, 4.1.3: hours on a CPU."""
