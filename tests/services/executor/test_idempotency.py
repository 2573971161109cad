from __future__ import annotations

import msgspec
import pytest

from common.messages import CancelAccepted, PlaceOrder, Refused
from common.reasons import Reason
from common.types import OrderType, Side, TimeInForce
from services.executor.idempotency import ANSWER_LIFE_NS, DAY_NS, Answers, ClientId, ClientIds, fingerprint

COMMAND = PlaceOrder(
    "c", "default", "id", "", "m", "Up", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, False, 520_000, 10_000_000
)


def _row(number: int, since: int = 0) -> ClientId:
    return ClientId(number, b"f", since, f"0xA{number}")


def test_an_id_is_found_by_its_account_and_its_venue_id() -> None:
    ids = ClientIds(10)
    ids.take("default", "a", _row(1))

    assert ids.find("default", "a") == _row(1)
    assert ids.find("other", "a") is None
    assert ids.number_of("0xa1") == 1


def test_full_evicts_nothing_before_its_day_is_over() -> None:
    ids = ClientIds(2)
    ids.take("default", "a", _row(1))
    ids.take("default", "b", _row(2, 10))

    assert ids.full(DAY_NS - 1, lambda number: False)
    assert ids.find("default", "a") is not None

    assert not ids.full(DAY_NS, lambda number: False)
    assert ids.find("default", "a") is None
    assert ids.number_of("0xA1") is None


def test_the_id_of_an_open_order_outlives_its_day() -> None:
    ids = ClientIds(2)
    ids.take("default", "a", _row(1))
    ids.take("default", "b", _row(2))

    assert not ids.full(DAY_NS, lambda number: number == 1)

    assert ids.find("default", "a") is not None
    assert ids.find("default", "b") is None


@pytest.mark.parametrize(
    "other",
    [{"price": 1}, {"size": 1}, {"side": Side.SELL}, {"tif": TimeInForce.FAK}, {"post_only": True}, {"expire_ns": 1}],
)
def test_fingerprints_differ_by_content(other: dict[str, object]) -> None:
    changed = msgspec.structs.replace(COMMAND, **other)

    assert fingerprint(changed, "v", "0xc", "1") != fingerprint(COMMAND, "v", "0xc", "1")


def test_fingerprints_leave_out_ids_spelling_and_deadline() -> None:
    other = msgspec.structs.replace(
        COMMAND, command_id="d", client_order_id="x", market="slug", outcome="0", deadline_ns=5
    )

    assert fingerprint(other, "v", "0xc", "1") == fingerprint(COMMAND, "v", "0xc", "1")


def test_answers_are_kept_ten_minutes_and_then_dropped() -> None:
    answers = Answers(limit=1)
    answers.keep_place("cli", "a", 7, 0)

    assert answers.full(ANSWER_LIFE_NS)
    kept = answers.find("cli", "a")
    assert kept is not None
    assert kept.number == 7
    assert answers.find("other", "a") is None

    assert not answers.full(ANSWER_LIFE_NS + 1)
    assert answers.find("cli", "a") is None


def test_answers_that_do_no_harm_twice_make_room() -> None:
    answers = Answers(limit=2)
    answers.keep("cli", "a", Refused("a", Reason.BAD_TICK, "no"), 0)
    answers.keep("cli", "b", CancelAccepted("b", [], []), 0)
    answers.keep("cli", "c", CancelAccepted("c", [], []), 0)

    assert answers.find("cli", "a") is None
    assert answers.find("cli", "c") is not None
    assert len(answers) == 2


def test_both_survive_their_rows() -> None:
    ids, answers = ClientIds(5), Answers()
    ids.take("default", "a", _row(1))
    answers.keep_place("cli", "a", 1, 3)
    answers.keep("cli", "b", CancelAccepted("b", ["o-1"], []), 4)

    assert ClientIds(5, ids.rows()).rows() == ids.rows()
    assert Answers(answers.rows()).rows() == answers.rows()
