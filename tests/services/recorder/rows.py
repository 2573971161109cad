"""Messages and entries for the tests of recordings, and files made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.messages import FeedFrame, FeedMark, MarketListed
from common.recording import FRAME, OPENED, Entry, mark_entry, market_entry
from services.recorder.core import Scene
from services.recorder.storage import Files, Limits
from tests.services.market_data.markets import market

HOUR_NS = 3_600_000_000_000
LIMITS = Limits(file_bytes=1 << 20, total_bytes=1 << 30, rotate_after_ns=HOUR_NS)
T0 = 1_700_000_000_000_000_000


def frame(number: int, raw: bytes | None = None, connection: int = 1) -> Entry:
    return Entry(T0 + number, connection, FRAME, b"frame %d" % number if raw is None else raw)


def feed_frame(number: int, raw: bytes | None = None) -> FeedFrame:
    return FeedFrame(1, T0 + number, b"frame %d" % number if raw is None else raw)


def opened(connection: int = 1, *token_ids: str) -> FeedMark:
    return FeedMark(connection, T0, OPENED, list(token_ids or market().token_ids))


def listed(number: int = 1, **changes: object) -> MarketListed:
    return MarketListed(market(number, **changes))


def beginning() -> list[Entry]:
    """A market and a connection that asks for it."""
    return [market_entry(listed(), T0), mark_entry(opened(), T0)]


class Tapes:
    """A folder of recordings, written without threads."""

    def __init__(self, folder: Path, limits: Limits = LIMITS, run: int = 1) -> None:
        self.folder = folder
        self.scene = Scene()
        self.files = Files(folder, run, limits, lambda: False)
        self.files.recover()

    def write(self, entries: Sequence[Entry], mono_ns: int = 0) -> None:
        self.files.write(lambda: self.scene.entries(T0), entries, T0, mono_ns)
        for entry in entries:
            self.scene.apply(entry)
        self.files.tidy(mono_ns)

    def names(self, suffix: str) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.suffix == suffix)


def finished(folder: Path, *parts: Sequence[Entry], run: int = 1) -> list[Path]:
    """One finished file for each part."""
    tapes = Tapes(folder, run=run)
    for part in parts:
        tapes.write(part)
        tapes.files.finish()
    return tapes.names(".parquet")
