"""The recorded books as loaded: exact counts of what the package ships, and refusals of files that are not it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import ConfigError
from services.mirror.playback import RecordedMarket, needs_fine_tick
from services.mirror.recording import exact_micros, load_recording


@pytest.fixture(scope="module")
def played() -> list[RecordedMarket]:
    return load_recording(lead_in_s=30, market_count=18)


def test_all_recorded_markets_are_there_in_time_order(played: list[RecordedMarket]) -> None:
    assert len(played) == 18
    assert [market.start_ms for market in played] == sorted(market.start_ms for market in played)
    assert played[0].slug == "btc-updown-15m-1790586000"
    assert played[0].question == "Bitcoin Up or Down - September 28, 5:00AM-5:15AM ET"
    assert all(market.outcomes == ("Up", "Down") for market in played)


def test_counts_inside_the_played_window(played: list[RecordedMarket]) -> None:
    assert sum(len(market.snapshots) for market in played) == 15_914
    assert sum(market.skipped for market in played) == 9
    assert sum(market.mismatches for market in played) == 16
    assert sum(market.unpaired for market in played) == 739


def test_counts_over_everything_recorded() -> None:
    """Up to each market's end; after the ends lie one more mirror difference and two more sub-cent markets."""
    everything = load_recording(lead_in_s=10**9, market_count=18)
    assert sum(market.skipped for market in everything) == 11
    assert sum(market.mismatches for market in everything) == 20
    assert sum(any(map(needs_fine_tick, market.snapshots)) for market in everything) == 11


def test_every_played_book_is_sorted_best_first_uncrossed_and_on_a_tick(played: list[RecordedMarket]) -> None:
    for market in played:
        for _, bids, asks in market.snapshots:
            assert list(bids) == sorted(bids, reverse=True)
            assert list(asks) == sorted(asks)
            assert len(bids) <= 20
            assert len(asks) <= 20
            assert all(price % 1_000 == 0 and 0 < price < 1_000_000 and size > 0 for price, size in (*bids, *asks))
            assert not bids or not asks or bids[0][0] < asks[0][0]


def test_only_the_window_is_read(played: list[RecordedMarket]) -> None:
    for market in played:
        assert market.start_ms - 30_000 <= market.snapshots[0].at_ms
        assert market.snapshots[-1].at_ms <= market.end_ms


def test_a_number_that_is_no_whole_micro_is_refused() -> None:
    assert exact_micros(0.1 + 0.2) == 300_000
    with pytest.raises(ConfigError, match="six decimals"):
        exact_micros(0.12345678)


def test_missing_or_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recording(lead_in_s=30, market_count=1, folder=tmp_path)
    for name in ("markets.parquet", "books.parquet"):
        (tmp_path / name).write_bytes(b"not parquet")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recording(lead_in_s=30, market_count=1, folder=tmp_path)


def test_parquet_files_of_another_layout_are_refused(tmp_path: Path) -> None:
    for name in ("markets.parquet", "books.parquet"):
        pq.write_table(pa.table({"x": [1]}), tmp_path / name)
    with pytest.raises(ConfigError, match="layout"):
        load_recording(lead_in_s=30, market_count=1, folder=tmp_path)
