"""Looking for secrets in bytes: in every way one could have been written down, in every file it could be in."""

from __future__ import annotations

import binascii
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq

SHORTEST = 16
"""Shorter bytes could be found by chance."""


class Secrets:
    """Named secrets, each in all its spellings."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._exact: dict[bytes, str] = {}
        self._any_case: dict[bytes, str] = {}
        for name, value in values.items():
            for raw in meanings(value):
                self._any_case[raw.hex().encode()] = f"{name} in hex"
                self._exact |= {needle: f"{name} {form}" for form, needle in spellings(raw).items()}

    def found_in(self, content: bytes) -> set[str]:
        """Which secrets these bytes hold, and how they are spelled there."""
        lower = content.lower()
        found = {what for needle, what in self._exact.items() if needle in content}
        return found | {what for needle, what in self._any_case.items() if needle in lower}


def meanings(value: bytes) -> list[bytes]:
    """A secret as it stands in its file, and the bytes it stands for when it is hex or base64."""
    found = [value]
    with suppress(ValueError):
        found.append(bytes.fromhex(value.decode().removeprefix("0x")))
    with suppress(binascii.Error, ValueError):
        found.append(urlsafe_b64decode(value + b"=" * (-len(value) % 4)))
    return [one for one in found if len(one) >= SHORTEST]


def spellings(raw: bytes) -> dict[str, bytes]:
    """Bytes as they are, as Python prints them, as a number, and in base64 at every alignment; hex apart."""
    found = {"as it is": raw, "as Python prints it": repr(raw)[2:-1].encode()}
    found["as a number"] = str(int.from_bytes(raw, "big")).encode()
    for before in range(3):
        # The letters that come from the secret alone, whatever stands around it.
        first, last = -(-8 * before // 6), 8 * (before + len(raw)) // 6
        found[f"in base64 at {before}"] = b64encode(bytes(before) + raw)[first:last]
        found[f"in urlsafe base64 at {before}"] = urlsafe_b64encode(bytes(before) + raw)[first:last]
    return found


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file under a folder with its bytes; of compressed files also what they say. Unwritten tails are zeros."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        yield path, path.read_bytes().rstrip(b"\0")
        if path.suffix == ".parquet":
            yield path, repr(pq.read_table(path).to_pylist()).encode()
