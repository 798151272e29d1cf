"""Words of texts in many scripts."""

from __future__ import annotations

import re

import pytest

from benchmark import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Children's sci-fi, 2 a_b -- 'x'", ["children's", "sci-fi", "2", "a_b", "x"]),
        ("children’s", ["children's"]),
        ("Bücher über STRASSEN, Straßen", ["bücher", "über", "strassen", "strassen"]),
        ("Ba\u0308r", ["b\u00e4r"]),  # letter and mark are composed
        ("红色手机壳", ["红色", "色手", "手机", "机壳"]),
        ("茶", ["茶"]),
        ("ラーメン・うどん ｶﾒﾗ", ["ラー", "ーメ", "メン", "うど", "どん", "カメ", "メラ"]),
        ("iPhone15手机100円", ["iphone15", "手机", "100", "円"]),
        ("كتاب الطبخ", ["كتاب", "الطبخ"]),
        ("كِتَاب", ["كِتَاب"]),  # vowel signs are part of the word
        ("می\u200cخواهم", ["میخواهم"]),  # a joiner is not
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("한국어 책", ["한국어", "책"]),
        ("อาหาร", ["อา", "าห", "หา", "าร"]),
        ("น้อง", ["น้อ", "อง"]),  # a tone mark stays with its letter
        ("ខ្មែរ", ["ខ្មែ", "មែរ"]),
        ("I ❤️ NY 1️⃣", ["i", "ny", "1"]),
        ("", []),
        ("?! …", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_words_of_ascii_texts_are_lower_cased_runs() -> None:
    signs = "".join(map(chr, range(128)))
    for text in (signs, signs[::-1], "It's 3-in-1: A-B-'C', d--e, x_y'z-"):
        assert words(text) == re.findall(r"[a-z0-9_]+(?:[-'][a-z0-9_]+)*", text.lower())


def test_normalising_twice_changes_nothing() -> None:
    for text in ("Straße ſﬁ Å ΐ ǰ", "ＡＢＣ カメラ ｶﾞ", "Bücher über schöne Gärten"):
        once = words(text)
        assert words(" ".join(once)) == once
