"""The settings of the protocol: their bounds, and what does not go together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from benchmark.data.protocol import Protocol


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"max_history": 0}, r"max_history\n.*greater than or equal to 1"),
        ({"unseen_share": 1.0}, r"unseen_share\n.*less than 1"),
        ({"copies_within": -1}, r"copies_within\n.*greater than or equal to 0"),
        ({"max_histroy": 5}, r"max_histroy\n.*not permitted"),
        ({"valid_share": 0.5, "test_share": 0.5}, "leave nothing to train on"),
        ({"drop_untrained_targets": True, "unseen_share": 0.1}, "unseen_share asks for .* take out one of the two"),
        ({"drop_untrained_targets": True, "split": "all-test"}, "all-test asks for .* take out one of the two"),
        ({"copies_within": 1, "leaky": True}, "drop one of the two"),
    ],
)
def test_an_impossible_protocol_is_refused_before_there_is_data(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Protocol(**keys)
