"""Which API keys exist and which have an armed heartbeat: an append-only file, synced before anybody is answered.

In: creations, deletions, arming. Out: the newest generation and whether it lives. No secret is in it; keys are derived
(keys.py). A torn last line is dropped: nobody was told about it. Past LINES_MAX nothing more is created.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from common.durable import replace_file, sync_folder, write_at
from common.errors import Refusal
from common.reasons import Reason
from services.polymarket_sim.keys import GENERATION_MAX, KeyName

FILE: Final = "polymarket_sim.keys"
KEYS_MAX: Final = 100_000
COMPACT_LINES: Final = 1_000_000
"""Lines at which the file is rewritten with only the newest of each key."""


class Entry(msgspec.Struct, frozen=True):
    """The newest word on one (address, nonce)."""

    address: str
    nonce: int
    generation: int
    live: bool
    armed: bool = False

    @property
    def name(self) -> KeyName:
        return KeyName(self.address, self.nonce, self.generation)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class KeyRegistry:
    """One file, one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[tuple[str, int], Entry] = {}
        for line in _complete_lines(path):
            entry = _decode(line)
            self._entries[entry.address, entry.nonce] = entry
        self._compact()

    def close(self) -> None:
        os.close(self._fd)

    def find(self, address: str, nonce: int) -> Entry | None:
        return self._entries.get((address, nonce))

    def live_keys(self, address: str) -> list[KeyName]:
        return [entry.name for entry in self._entries.values() if entry.address == address and entry.live]

    def armed_keys(self) -> list[KeyName]:
        return [entry.name for entry in self._entries.values() if entry.armed]

    def is_live(self, name: KeyName) -> bool:
        """Whether a key that we could derive may be used.

        The first generation counts as existing until it is deleted: it may have been provisioned by whoever holds
        the server's secret, without a request to us.
        """
        entry = self.find(name.address, name.nonce)
        if entry is None:
            return name.generation == 0
        return entry.live and entry.generation == name.generation

    def create(self, address: str, nonce: int) -> KeyName:
        """Make the key exist. Raises Refusal(DUPLICATE_ID) when it does, OVERLOADED when the registry is full."""
        known = self.find(address, nonce)
        if known is not None and known.live:
            raise Refusal(Reason.DUPLICATE_ID, "the key exists", "nonce")
        generation = known.generation + 1 if known is not None else 0
        if generation > GENERATION_MAX or (known is None and len(self._entries) >= KEYS_MAX):
            raise Refusal(Reason.OVERLOADED, "no more keys can be made", "nonce")
        self._put(Entry(address, nonce, generation, live=True))
        return KeyName(address, nonce, generation)

    def adopt(self, name: KeyName) -> None:
        """A provisioned key was used for the first time."""
        if self.find(name.address, name.nonce) is None and len(self._entries) < KEYS_MAX:
            self._put(Entry(name.address, name.nonce, name.generation, live=True))

    def delete(self, name: KeyName) -> None:
        self._put(Entry(name.address, name.nonce, name.generation, live=False))

    def arm(self, name: KeyName, *, armed: bool) -> None:
        """Remember that a heartbeat of this key is (not) running, so that it is still due after a restart."""
        entry = self.find(name.address, name.nonce)
        if entry is None or entry.generation != name.generation or entry.armed == armed:
            return
        self._put(msgspec.structs.replace(entry, armed=armed))

    def _put(self, entry: Entry) -> None:
        line = _encode(entry) + b"\n"
        write_at(self._fd, line, self._size)
        os.fdatasync(self._fd)
        self._size += len(line)
        self._lines += 1
        self._entries[entry.address, entry.nonce] = entry
        if self._lines >= COMPACT_LINES:
            os.close(self._fd)
            self._compact()

    def _compact(self) -> None:
        replace_file(self.path, [_encode(entry) + b"\n" for entry in self._entries.values()])
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._fd).st_size
        self._lines = len(self._entries)
        sync_folder(self.path.parent)


def _complete_lines(path: Path) -> list[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return content.split(b"\n")[:-1]
