"""`Choices`: the words of a kind that can grow, with the messages of a `Literal`."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import ValidationError

from gazetools.schemas.base import Choices, StrictModel

WORDS = Choices("npz", "npy", "hdf5")


class _Open(StrictModel):
    layout: Annotated[str, WORDS] = "npz"


class _Closed(StrictModel):
    layout: Literal["npz", "npy", "hdf5"] = "npz"


@pytest.mark.parametrize("value", ["zarr", "", "NPZ"])
def test_other_words_get_the_message_of_a_literal(value: str) -> None:
    messages = []
    for model in (_Open, _Closed):
        with pytest.raises(ValidationError) as raised:
            model.model_validate({"layout": value})
        messages.append([(error["loc"], error["msg"], error["type"]) for error in raised.value.errors()])
    assert messages[0] == messages[1]


def test_a_word_is_accepted_once_it_is_added() -> None:
    WORDS.add("zarr")
    try:
        assert _Open(layout="zarr").layout == "zarr"
        assert _Open.model_json_schema()["properties"]["layout"]["enum"] == ["npz", "npy", "hdf5", "zarr"]
        with pytest.raises(ValueError, match="'zarr' is taken"):
            WORDS.add("zarr")
    finally:
        WORDS.remove("zarr")
    with pytest.raises(ValidationError):
        _Open(layout="zarr")
