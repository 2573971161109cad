"""Hypothesis strategies shared by all tests: any message, built from its field types."""

from __future__ import annotations

import enum
import types
import typing
from typing import Any, get_args, get_origin

import msgspec
from hypothesis import strategies as st

from common.messages import MESSAGES, Message

MICROS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
TEXT = st.text(max_size=20)


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field type as it may stand in a message."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is list:
        return st.lists(of_type(args[0]), max_size=3)
    if origin is tuple:
        if args[-1] is Ellipsis:
            return st.lists(of_type(args[0]), max_size=3).map(tuple)
        return st.tuples(*(of_type(arg) for arg in args))
    if origin is dict:
        return st.dictionaries(of_type(args[0]), of_type(args[1]), max_size=3)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(of_type(arg) for arg in args))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return struct(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(list(kind))
    plain: dict[Any, st.SearchStrategy[Any]] = {
        int: MICROS,
        str: TEXT,
        bool: st.booleans(),
        bytes: st.binary(max_size=20),
        type(None): st.none(),
    }
    return plain[kind]


def struct(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Instances of one struct."""
    hints = typing.get_type_hints(kind)
    fields = {field.name: of_type(hints[field.name]) for field in msgspec.structs.fields(kind)}
    return st.builds(kind, **fields)


def messages() -> st.SearchStrategy[Message]:
    """Any message of the bus."""
    return st.sampled_from(MESSAGES).flatmap(struct)
