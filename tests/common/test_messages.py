"""Messages: bytes that never change, readable by any msgpack library, unknown tags refused."""

from __future__ import annotations

import json
import re

import msgpack
import msgspec
import pytest
from hypothesis import given

from common.messages import MESSAGES, Message, decode, encode
from tests.golden.messages import FILE, samples
from tests.strategies import messages

GOLDEN: dict[str, str] = json.loads(FILE.read_text())


@pytest.mark.parametrize("name", sorted(kind.__name__ for kind in MESSAGES))
def test_every_message_has_the_bytes_it_was_released_with(name: str) -> None:
    """A frame or journal of an older version decodes for ever; see tests/golden/messages.py for new messages."""
    message = samples()[name]
    assert name in GOLDEN, "run python -m tests.golden.messages"
    released = bytes.fromhex(GOLDEN[name])
    if encode(message) != released:
        # New fields with defaults at the end are the one allowed change, at any depth.
        assert begins_with(msgpack.unpackb(encode(message)), msgpack.unpackb(released))
        assert msgspec.to_builtins(decode(released))


def begins_with(new: object, released: object) -> bool:
    """Whether every array holds what it held when it was released, and only more behind it."""
    if not isinstance(released, list):
        return new == released
    return (
        isinstance(new, list)
        and len(new) >= len(released)
        and all(begins_with(*pair) for pair in zip(new, released, strict=False))
    )


@given(messages())
def test_any_message_survives_the_bus(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages())
def test_any_msgpack_library_reads_our_frames(message: Message) -> None:
    parts = msgpack.unpackb(encode(message), strict_map_key=False)
    assert parts[0] == type(message).__name__
    assert len(parts) == 1 + len(msgspec.structs.fields(message))


def test_an_unknown_tag_is_an_error_not_a_guess() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(msgpack.packb(["FlyToTheMoon", "x"]))


def test_a_wrong_shape_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(msgpack.packb(["Accepted", 7]))


def test_a_field_of_a_newer_version_is_ignored() -> None:
    """A rolling upgrade: the newer side sends one field more."""
    assert decode(msgpack.packb(["Accepted", "c-1", True, "new"])) == decode(msgpack.packb(["Accepted", "c-1", True]))


def test_messages_cannot_be_changed_after_they_were_made() -> None:
    for message in samples().values():
        with pytest.raises(AttributeError):
            setattr(message, msgspec.structs.fields(message)[0].name if msgspec.structs.fields(message) else "x", 1)


def test_names_are_words_and_unique() -> None:
    names = [kind.__name__ for kind in MESSAGES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"([A-Z][a-z]+)+", name) for name in names)
