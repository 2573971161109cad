from __future__ import annotations

import msgspec
import pytest

from common.messages import Fill
from common.types import Settlement, Side
from services.executor import external
from services.executor.external import External, account_of


def _fill(trade_id: str, settlement: Settlement = Settlement.MATCHED, matched_ns: int = 1) -> Fill:
    return Fill(
        trade_id,
        "",
        "0xa",
        account_of("main"),
        "",
        "1",
        "",
        Side.BUY,
        1,
        1,
        1,
        0,
        False,
        settlement,
        "",
        matched_ns,
    )


def test_a_new_stage_replaces_the_fill_and_lists_it_once() -> None:
    fills = External()
    fills.put(_fill("a"))
    fills.put(_fill("a", Settlement.CONFIRMED))

    assert fills.fills() == [_fill("a", Settlement.CONFIRMED)]
    assert list(fills.recent()) == [("a", "0xa")]
    assert fills.find("a", "0xb") is None


def test_what_is_not_final_is_known_by_wallet() -> None:
    fills = External()
    fills.put(_fill("a", matched_ns=5))
    fills.put(_fill("b", Settlement.FAILED, 3))

    assert fills.unsettled_since("main") == [5]
    assert fills.unsettled_since("other") == []


def test_beyond_the_bound_the_oldest_final_one_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "EXTERNAL_MAX", 2)
    fills = External()
    fills.put(_fill("a"))
    fills.put(_fill("b", Settlement.CONFIRMED))
    fills.put(_fill("c"))

    assert [fill.trade_id for fill in fills.fills()] == ["a", "c"]


def test_it_survives_its_rows() -> None:
    fills = External()
    fills.put(_fill("a"))
    rows = msgspec.msgpack.decode(msgspec.msgpack.encode(fills.fills()), type=list[Fill])

    again = External(rows, fills.recent_keys())

    assert again.fills() == fills.fills()
    assert list(again.recent()) == list(fills.recent())
