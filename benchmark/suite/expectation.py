"""What a claim expects, as it is written in a suite: `TIGER > SASRec`, `A = B ± .01`, `A > B by 5 %`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from benchmark.errors import BenchmarkError

_SIGNS = r"\s+(?P<sign>[<>=])\s+"
_EXPECT = re.compile(rf"\s*(?P<a>\S.*?){_SIGNS}(?P<rest>.*\S)\s*")
EXPECT_WORDS = r"\s+[<>=±]\s+|,\s+"


@dataclass(frozen=True)
class Expectation:
    """What a claim says of model `a`.

    - "A > B" or "A < B": it is better, or worse, than another model: higher, or lower, but for a metric whose lower
      values are better.
    - "A > B, C, D": than each of these.
    - "A = B ± 0.01": it is as good as another model, but for less than 0.01 to either side.
    - "A = 0 ± 0.01": its mean is 0, but for less than 0.01.

    `rivals` are the other models; with none of them `value` is the number. `margin` is 0 but for the last two.
    """

    a: str
    sign: Literal[">", "<", "="]
    rivals: tuple[str, ...]
    value: float = 0.0
    margin: float = 0.0

    @property
    def models(self) -> tuple[str, ...]:
        return (self.a, *self.rivals)


def parse_expectation(text: str) -> Expectation:
    """Raises BenchmarkError where the text is not an expectation."""

    def refuse() -> BenchmarkError:
        return BenchmarkError(
            f"expect: '{text}' is not an expectation. Write two models as 'A > B' or 'A < B', several as 'A > B, C', "
            "or an equality as 'A = B ± 0.01' or 'A = 0 ± 0.01'."
        )

    match = _EXPECT.fullmatch(text)
    if match is None or re.search(r"\s[<>=]\s", match["rest"]):
        raise refuse()
    a, rest = match["a"], match["rest"]
    if match["sign"] != "=":
        rivals = tuple(name.strip() for name in re.split(r",\s+", rest))
        if not all(rivals) or len(set(rivals)) < len(rivals) or "±" in rest:
            raise refuse()
        return Expectation(a, ">" if match["sign"] == ">" else "<", rivals)
    other, _, margin = rest.rpartition("±")
    try:
        size = float(margin)
    except ValueError:
        raise refuse() from None
    if not other.strip() or not size > 0:
        raise refuse()
    try:
        return Expectation(a, "=", (), float(other), size)
    except ValueError:
        return Expectation(a, "=", (other.strip(),), 0.0, size)
