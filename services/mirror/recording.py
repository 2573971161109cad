"""The recorded real order books, as played: the load edge of the mirror.

In: the two Parquet files of resolvedkit's sample data (docs/recorded-data.md). Out: markets with their snapshots in
outcome 0 (UP) terms, exact micros, time order, inside [start - lead_in, end]. UP is the truth; DOWN is only checked to
be its mirror image. Crossed and locked snapshots are skipped and counted. It never invents or smooths anything.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from common.errors import ConfigError
from common.messages import Level
from common.types import ONE
from services.mirror.playback import RecordedMarket, Snapshot

EXACT_WITHIN = 1e-9
"""The files hold doubles; one that is further from a whole micro than this is not a recorded price or size."""


MARKET_COLUMNS = {
    "market_id", "slug", "question", "category", "start_ts", "end_ts", "outcome_up", "outcome_down",
}  # fmt: skip
BOOK_COLUMNS = {"market_id", "ts", "side", "bid_px", "bid_sz", "ask_px", "ask_sz"}


class _Rows(NamedTuple):
    """The snapshots of one market by time: column positions of its UP and DOWN rows."""

    up: dict[int, int]
    down: dict[int, int]


def sample_folder() -> Path:
    """Where the installed package keeps its sample data; found without importing it."""
    spec = importlib.util.find_spec("resolvedkit")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "mirror.source", "the recorded books (package resolvedkit) are not installed: run start_all.sh"
        )
    return Path(spec.origin).parent / "sample_data"


def load_recording(*, lead_in_s: int, market_count: int, folder: Path | None = None) -> list[RecordedMarket]:
    """The first `market_count` markets by start time. Raises ConfigError when the files cannot be used."""
    folder = folder or sample_folder()
    try:
        markets = pq.read_table(folder / "markets.parquet").to_pylist()
        books = pq.read_table(folder / "books.parquet").to_pydict()
    except (OSError, ValueError) as error:
        raise ConfigError(str(folder), f"the recorded books cannot be read: {error}") from None
    _check_layout(markets, books)
    markets.sort(key=lambda row: (row["start_ts"], row["market_id"]))
    chosen = markets[:market_count]
    rows = _rows_in_window(books, {row["market_id"]: row for row in chosen}, lead_in_s * 1000)
    return [_recorded(row, rows[row["market_id"]], books) for row in chosen]


def _check_layout(markets: list[dict[str, Any]], books: dict[str, list[Any]]) -> None:
    missing = MARKET_COLUMNS - (markets[0].keys() if markets else set()) | BOOK_COLUMNS - books.keys()
    if missing:
        raise ConfigError("mirror.source", f"the recorded books have another layout: no column {min(missing)}")


def _rows_in_window(
    books: dict[str, list[Any]], markets: dict[str, dict[str, Any]], lead_in_ms: int
) -> dict[str, _Rows]:
    rows = {market_id: _Rows({}, {}) for market_id in markets}
    columns = zip(books["market_id"], books["ts"], books["side"], strict=True)
    for position, (market_id, at_ms, side) in enumerate(columns):
        market = markets.get(market_id)
        if market is not None and market["start_ts"] - lead_in_ms <= at_ms <= market["end_ts"]:
            (rows[market_id].up if side == "UP" else rows[market_id].down)[at_ms] = position
    return rows


def _recorded(row: dict[str, Any], rows: _Rows, books: dict[str, list[Any]]) -> RecordedMarket:
    played: list[Snapshot] = []
    skipped = mismatches = 0
    for at_ms, position in sorted(rows.up.items()):
        snapshot = Snapshot(at_ms, _levels(books, position, "bid"), _levels(books, position, "ask"))
        if at_ms in rows.down and not _is_mirror(snapshot, books, rows.down[at_ms]):
            mismatches += 1
        if snapshot.bids and snapshot.asks and snapshot.bids[0][0] >= snapshot.asks[0][0]:
            skipped += 1
            continue
        played.append(snapshot)
    return RecordedMarket(
        condition_id=row["market_id"],
        slug=row["slug"],
        question=row["question"],
        category=row["category"],
        outcomes=(row["outcome_up"], row["outcome_down"]),
        start_ms=row["start_ts"],
        end_ms=row["end_ts"],
        snapshots=tuple(played),
        skipped=skipped,
        mismatches=mismatches,
        unpaired=len(rows.up.keys() ^ rows.down.keys()),
    )


def _levels(books: dict[str, list[Any]], position: int, side: str) -> tuple[Level, ...]:
    pairs = zip(books[f"{side}_px"][position], books[f"{side}_sz"][position], strict=True)
    return tuple((exact_micros(price), exact_micros(size)) for price, size in pairs)


def _is_mirror(up: Snapshot, books: dict[str, list[Any]], position: int) -> bool:
    """Whether DOWN bids are UP asks at 1 - price, and the reverse."""
    down_bids, down_asks = _levels(books, position, "bid"), _levels(books, position, "ask")
    return set(_mirrored(up.asks)) == set(down_bids) and set(_mirrored(up.bids)) == set(down_asks)


def _mirrored(levels: tuple[Level, ...]) -> Iterator[Level]:
    return ((ONE - price, size) for price, size in levels)


def exact_micros(value: float) -> int:
    """The micro a recorded double stands for. Raises ConfigError when it stands for none."""
    micros = round(value * ONE)
    if abs(value - micros / ONE) > EXACT_WITHIN:
        raise ConfigError("mirror.source", f"the recorded number {value!r} has more than six decimals")
    return micros
