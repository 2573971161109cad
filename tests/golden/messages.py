"""The bytes of one sample of every message, as first released: `python -m tests.golden.messages` adds new ones.

An existing line never changes; a message whose bytes differ has broken old frames and journals.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from common.messages import MESSAGES, Message, encode

FILE = Path(__file__).with_name("messages.json")
PAIRS = frozenset({"outcomes", "token_ids"})
"""Fields that always held two, and were released as such."""


def sample(kind: Any, name: str = "") -> Any:
    """A fixed value of a field type; ints and texts depend on the field's name so that swapped fields show."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is list:
        return [sample(args[0], name)]
    if origin is tuple and name in PAIRS:
        return (sample(args[0], name),) * 2
    if origin is tuple:
        return tuple(sample(arg, name) for arg in args if arg is not Ellipsis)
    if origin is dict:
        return {sample(args[0], name): sample(args[1], name)}
    if origin in (typing.Union, types.UnionType):
        return sample(args[0], name)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: sample(hints[field.name], field.name) for field in msgspec.structs.fields(kind)})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind))
    plain: dict[Any, Any] = {int: len(name) * 1_000_003, str: name, bool: True, bytes: name.encode()}
    return plain[kind]


def samples() -> dict[str, Message]:
    return {kind.__name__: sample(kind) for kind in MESSAGES}


def main() -> None:
    known: dict[str, str] = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name, message in samples().items():
        known.setdefault(name, encode(message).hex())
    FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
