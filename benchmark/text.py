"""Words of texts in any language: what all models that read words agree on."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import pairwise
from typing import Any

_ASCII_WORD = re.compile(r"\w+(?:[-']\w+)*", re.ASCII)
_UNSPACED = (
    "\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"  # Han
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # Hiragana and Katakana
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46"  # Thai
    "\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6\u0edc-\u0edf"  # Lao
    "\u1780-\u17b3\u17d7\u17dc"  # Khmer
    "\u1000-\u102a\u103f\u1050-\u1055\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u108e"  # Myanmar
    "\ua9e0-\ua9e4\ua9e6-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa76\uaa7a\uaa7e\uaa7f"
)
"""Letters, as ranges of a regular expression, of the scripts that are written without spaces between words."""
_SPELLING = {
    0x2010: "-",
    0x2019: "'",
    # Soft hyphens, joiners and variation selectors: how a word is drawn, not which one it is.
    **dict.fromkeys((0xAD, 0x200C, 0x200D, 0x2060, 0xFEFF, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))),
}


_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters but for tab and line feed, what turns the direction of a text (Unicode Standard Annex 9, section
2), what has no width (but for joiners, which some scripts need), and halves of characters."""


def visible(text: str) -> str:
    """The text with its control characters, and others that nobody sees, written out: `\\x1b` for an escape."""
    return _HIDDEN.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)


def csv_cell(value: Any) -> Any:
    """The value as a spreadsheet shows it, never as a formula that it runs (OWASP, CSV Injection)."""
    if not isinstance(value, str):
        return value
    return f"'{visible(value)}" if value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else visible(value)


def words(text: str) -> list[str]:
    """The words of `text` in order, normalised (Unicode NFKC) and case-folded, in any language.

    >>> words("Children's sci-fi, 2 Bücher & 手机壳")
    ["children's", 'sci-fi', '2', 'bücher', '手机', '机壳']

    A word is a run of letters, digits and "_" with their combining marks; a hyphen or an apostrophe inside does not end
    it. Diacritics stay: "schön" and "schon" are two words. What is written without spaces between words (Chinese,
    Japanese, Thai, Lao, Khmer, Burmese) is given as overlapping pairs of characters, as in Lucene's CJKBigramFilter; a
    character that stands alone is a word. Case folding writes "ß" as "ss". ASCII texts are only lower-cased and split.
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    # Folding can undo the normal form, so it is made twice (Unicode Standard, section 3.13, D145 and D146).
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(_SPELLING)
    word_or_run, character = _patterns()
    tokens: list[str] = []
    for match in word_or_run.finditer(folded):
        if match.lastgroup == "word":
            tokens.append(match.group())
            continue
        characters = character.findall(match.group())
        tokens += map("".join, pairwise(characters)) if len(characters) > 1 else characters
    return tokens


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A word or a run of characters without spaces, the groups `word` and `run`; and one character of such a run."""
    # Python's \w lacks combining marks, such as the vowels of Hindi, Thai and Arabic; planes 2 and up have none.
    are_marks = "".join(str(int(unicodedata.category(chr(c)) in ("Mn", "Mc"))) for c in range(0x20000))
    marks = "".join(f"{chr(run.start())}-{chr(run.end() - 1)}" for run in re.finditer("1+", are_marks))
    character, letter = f"[{_UNSPACED}][{marks}]*", rf"[^\W{_UNSPACED}]"
    part = f"{letter}(?:{letter}+|[{marks}]+)*"
    return re.compile(f"(?P<run>(?:{character})+)|(?P<word>{part}(?:[-']{part})*)"), re.compile(character)
