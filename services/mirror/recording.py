"""The recorded real order books, as played: the load edge of the mirror.

In: the two Parquet files of resolvedkit's sample data (docs/recorded-data.md). Out: markets with their snapshots in
outcome 0 (UP) terms, exact micros, time order, inside [start - lead_in, end]. UP is the truth; DOWN is only checked to
be its mirror image. Crossed and locked snapshots are skipped and counted. It never invents or smooths anything.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.errors import ConfigError
from common.messages import Level
from common.types import ONE
from services.mirror.playback import RecordedMarket, Snapshot

EXACT_WITHIN = 1e-9
"""The files hold doubles; one that is further from a whole micro than this is not a recorded price or size."""

MARKET_COLUMNS = frozenset(
    ("market_id", "slug", "question", "category", "start_ts", "end_ts", "outcome_up", "outcome_down")
)
BOOK_COLUMNS = frozenset(("market_id", "ts", "side", "bid_px", "bid_sz", "ask_px", "ask_sz"))

Row: TypeAlias = dict[str, Any]
Columns: TypeAlias = dict[str, list[Any]]


class Levels(dict[tuple[float, float], Level]):
    """Exact levels by recorded (price, size): most stand in many snapshots, each is converted and kept once."""

    def __missing__(self, recorded: tuple[float, float]) -> Level:
        price, size = recorded
        level = self[recorded] = (exact_micros(price), exact_micros(size))
        return level


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
        markets = pq.read_table(folder / "markets.parquet")
        books = pq.read_table(folder / "books.parquet")
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(str(folder), f"the recorded books cannot be read: {error}") from None
    missing = (MARKET_COLUMNS - set(markets.column_names)) | (BOOK_COLUMNS - set(books.column_names))
    if missing:
        raise ConfigError("mirror.source", f"the recorded books have another layout: no column {min(missing)}")
    rows = sorted(markets.to_pylist(), key=lambda row: (row["start_ts"], row["market_id"]))
    return [_recorded(row, _played_columns(books, row, lead_in_s * 1000)) for row in rows[:market_count]]


def _played_columns(books: Any, market: Row, lead_in_ms: int) -> Columns:
    """The rows of one market's window; the other rows never become Python objects."""
    at_ms = pc.field("ts")
    inside = (at_ms >= market["start_ts"] - lead_in_ms) & (at_ms <= market["end_ts"])
    columns: Columns = books.filter((pc.field("market_id") == market["market_id"]) & inside).to_pydict()
    return columns


def _recorded(row: Row, books: Columns) -> RecordedMarket:
    up, down = _by_time(books, "UP"), _by_time(books, "DOWN")
    levels = Levels()
    recorded = [Snapshot(at_ms, *_ladder(books, up[at_ms], levels)) for at_ms in sorted(up)]
    played = tuple(snapshot for snapshot in recorded if not is_crossed(snapshot))
    if not played:
        raise ConfigError("mirror.source", f"the recording of {row['slug']} has no book to play")
    return RecordedMarket(
        condition_id=row["market_id"],
        slug=row["slug"],
        question=row["question"],
        category=row["category"],
        outcomes=(row["outcome_up"], row["outcome_down"]),
        start_ms=row["start_ts"],
        end_ms=row["end_ts"],
        snapshots=played,
        skipped=len(recorded) - len(played),
        mismatches=sum(
            found.at_ms in down and not is_mirror_image(found, *_ladder(books, down[found.at_ms], levels))
            for found in recorded
        ),
        unpaired=len(up.keys() ^ down.keys()),
    )


def _by_time(books: Columns, side: str) -> dict[int, int]:
    """Row numbers of one token's snapshots by time."""
    return {at_ms: row for row, (at_ms, of) in enumerate(zip(books["ts"], books["side"], strict=True)) if of == side}


def _ladder(books: Columns, row: int, levels: Levels) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    """Bids and asks of one row."""
    bids = zip(books["bid_px"][row], books["bid_sz"][row], strict=True)
    asks = zip(books["ask_px"][row], books["ask_sz"][row], strict=True)
    return tuple(map(levels.__getitem__, bids)), tuple(map(levels.__getitem__, asks))


def is_crossed(snapshot: Snapshot) -> bool:
    """Whether the best bid is not below the best ask (locked counts)."""
    return bool(snapshot.bids and snapshot.asks) and snapshot.bids[0][0] >= snapshot.asks[0][0]


def is_mirror_image(up: Snapshot, down_bids: tuple[Level, ...], down_asks: tuple[Level, ...]) -> bool:
    """Whether DOWN bids are UP asks at 1 - price, and the reverse, level by level."""
    return _mirrored(up.asks) == down_bids and _mirrored(up.bids) == down_asks


def _mirrored(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    return tuple((ONE - price, size) for price, size in levels)


def exact_micros(value: float) -> int:
    """The micro a recorded double stands for. Raises ConfigError when it stands for none."""
    micros = round(value * ONE)
    if abs(value - micros / ONE) > EXACT_WITHIN:
        raise ConfigError("mirror.source", f"the recorded number {value!r} has more than six decimals")
    return micros
