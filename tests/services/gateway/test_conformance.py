"""The conformance kit: the template's venue passes it, and an adapter that lies about anything is found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from common.errors import Refusal
from common.messages import (
    Cancel,
    CancelResult,
    OpenOrdersResult,
    OrderLookup,
    Place,
    PlaceResult,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    Timings,
    TradesResult,
)
from common.reasons import Reason
from common.types import Outcome, RetryClass
from services.gateway.adapters.template.adapter import Line, PaperclipAdapter, Wallet
from services.gateway.adapters.template.rig import WALLET, PaperclipRig
from services.gateway.conformance import kit
from services.gateway.conformance.case import Row, Verdict, report_of
from services.gateway.conformance.cases import CASES
from services.gateway.conformance.rig import Instrument, Kind, Tap
from services.gateway.port import Prepared

replace = msgspec.structs.replace


async def checked(rig: PaperclipRig, *keys: str) -> dict[str, Row]:
    """The rows of some cases (none named: of all)."""
    await rig.open()
    chosen = [case for case in CASES if not keys or case.key in keys]
    try:
        _, rows = await kit.run(rig, cases=chosen)
    finally:
        await rig.close()
    return {row.key: row for row in rows}


def test_numbers_and_keys_name_one_case_each() -> None:
    assert [case.number for case in CASES] == list(range(1, len(CASES) + 1))
    assert len({case.key for case in CASES}) == len(CASES)


async def test_the_template_passes_every_case() -> None:
    rows = await checked(PaperclipRig())

    assert {key: row.detail for key, row in rows.items() if row.verdict is not Verdict.PASS} == {}
    assert len(rows) == len(CASES)


async def test_a_run_leaves_nothing_open() -> None:
    rig = PaperclipRig()
    await checked(rig)
    answer = await rig.adapter.open_orders(QueryOpenOrders("q", rig.adapter.venue, WALLET))
    assert answer.complete
    assert answer.orders == []


# --- adapters that lie ---


class Lying(PaperclipAdapter):
    """One that says something untrue about one thing; each subclass is a defect a real adapter could have."""


class RefusesWhatWasLost(Lying):
    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        result = await super().place(prepared, received_ns, resent=resent)
        lost = result.outcome is Outcome.UNKNOWN
        return replace(result, outcome=Outcome.REFUSED, retry=RetryClass.NEVER) if lost else result


class SendsAgainByItself(Lying):
    """After an answer that was lost it asks again, and takes the second answer for the first."""

    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        result = await super().place(prepared, received_ns, resent=resent)
        if result.outcome is not Outcome.UNKNOWN:
            return result
        again = await super().place(prepared, received_ns, resent=False)
        return replace(again, outcome=Outcome.DONE, code=Reason.OK)


class CallsUnsentUnknown(Lying):
    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        result = await super().place(prepared, received_ns, resent=resent)
        return replace(result, outcome=Outcome.UNKNOWN) if result.code is Reason.VENUE_UNAVAILABLE else result


class OneWordForEveryRefusal(Lying):
    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        result = await super().place(prepared, received_ns, resent=resent)
        return replace(result, code=Reason.VENUE_REFUSED) if result.outcome is Outcome.REFUSED else result


class WithoutTimes(Lying):
    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        return replace(await super().place(prepared, received_ns, resent=resent), timings=Timings())


class BelievesACopyThatWasRefused(Lying):
    """A refusal of the second copy is taken for one of the order."""

    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        return (
            replace(await super().place(prepared, received_ns, resent=False), outcome=Outcome.REFUSED)
            if resent
            else await super().place(prepared, received_ns, resent=False)
        )


class CancelsEverythingAsked(Lying):
    """Whatever is asked to be cancelled is told as cancelled."""

    async def cancel(self, action: Cancel, received_ns: int) -> CancelResult:
        result = await super().cancel(action, received_ns)
        return replace(result, canceled=list(action.venue_order_ids), not_canceled={})


class ConcludesAbsenceFromSilence(Lying):
    async def look_up(self, action: QueryOrder) -> OrderLookup:
        found = await super().look_up(action)
        return replace(found, outcome=Outcome.DONE, code=Reason.ORDER_NOT_FOUND)


class ListsFillsTwice(Lying):
    async def trades(self, action: QueryTrades) -> TradesResult:
        answer = await super().trades(action)
        return replace(answer, fills=[*answer.fills, *answer.fills])


class ForgetsOpenOrders(Lying):
    async def open_orders(self, action: QueryOpenOrders) -> OpenOrdersResult:
        return replace(await super().open_orders(action), orders=[])


class OneBadLegEndsTheBatch(Lying):
    async def place_batch(self, batch: Sequence[Prepared], received_ns: int) -> list[PlaceResult]:
        results = await super().place_batch(batch, received_ns)
        bad = next((row for row in results if row.outcome is Outcome.REFUSED), None)
        return [replace(row, outcome=bad.outcome, code=bad.code) for row in results] if bad else results


class ReadsAnything(Lying):
    def prepare(self, place: Place) -> Prepared:
        try:
            return super().prepare(place)
        except Refusal:
            return Prepared(place, False, 0)


class Raises(Lying):
    async def look_up(self, action: QueryOrder) -> OrderLookup:
        if action.venue_order_id:
            raise KeyError("id")
        return await super().look_up(action)


class ShowsItsKeys(Lying):
    def __repr__(self) -> str:
        return f"Adapter({[wallet.key for wallet in self._wallets.values()]})"


class DeafToItsTap(Lying):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tap = None


def rig_with(make: Callable[..., PaperclipAdapter]) -> PaperclipRig:
    """The template's rig with another adapter on its shop."""

    class Rig(PaperclipRig):
        def __init__(self) -> None:
            super().__init__()
            self._adapter = make(Line(self._shop.answer), [Wallet(WALLET, self._key)], tap=self.tap)

        async def unreachable(self) -> PaperclipAdapter:
            return make(Line(None), [Wallet(WALLET, self._key)])

    return Rig()


@pytest.mark.parametrize(
    ("defect", "keys"),
    [
        (RefusesWhatWasLost, {"lost_place", "duplicate_open"}),
        (SendsAgainByItself, {"lost_place"}),
        (CallsUnsentUnknown, {"not_sent"}),
        (OneWordForEveryRefusal, {"bad_tick", "too_small", "no_money", "post_only", "unknown_market", "fok", "fak"}),
        (WithoutTimes, {"times"}),
        (BelievesACopyThatWasRefused, {"duplicate_open", "duplicate_over", "not_sent"}),
        (CancelsEverythingAsked, {"cancel_unknown", "cancel_filled", "lost_cancel", "cancel_batch"}),
        (ConcludesAbsenceFromSilence, {"lost_query"}),
        (ListsFillsTwice, {"fill", "partial"}),
        (ForgetsOpenOrders, {"found", "reconnect", "batch"}),
        (OneBadLegEndsTheBatch, {"batch"}),
        (ReadsAnything, {"malformed", "altered"}),
        (Raises, {"found", "absent"}),
        (ShowsItsKeys, {"secrets"}),
        (DeafToItsTap, {"lost_place", "lost_cancel", "lost_query", "lost_batch"}),
    ],
)
async def test_a_defect_is_found_by_the_cases_it_breaks(
    defect: Callable[..., PaperclipAdapter], keys: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.conformance.trial.SETTLE_S", 0.1)
    rows = await checked(rig_with(defect), *keys)
    assert {key for key, row in rows.items() if row.verdict is Verdict.FAIL} == keys


async def test_one_broken_case_hides_no_other() -> None:
    rows = await checked(rig_with(Raises), "found", "cancel_unknown")
    assert rows["found"].verdict is Verdict.FAIL
    assert "KeyError" in rows["found"].detail
    assert rows["cancel_unknown"].verdict is Verdict.PASS


async def test_an_exempt_case_says_why() -> None:
    rig = PaperclipRig()
    rig.exempt = {"not_sent": "there is only one shop"}
    row = (await checked(rig, "not_sent"))["not_sent"]
    assert (row.verdict, row.detail) == (Verdict.NOT_APPLICABLE, "there is only one shop")


async def test_orders_of_somebody_else_are_never_swept_away() -> None:
    """The wallet-wide cancel is not tried where it would take other orders along."""
    rig = PaperclipRig()
    quote = await rig.quote()
    from services.gateway.conformance.rig import Wanted

    foreign = rig.order(Wanted(quote.instrument.token_id, quote.resting_price, 5_000_000))
    await rig.adapter.place(rig.adapter.prepare(foreign), 1, resent=False)

    rows = await checked(rig)

    assert rows["cancel_wallet"].verdict is Verdict.NOT_APPLICABLE
    listed = await rig.adapter.open_orders(QueryOpenOrders("q", rig.adapter.venue, WALLET))
    assert [order.venue_order_id for order in listed.orders] == [foreign.venue_order_id]


# --- what the cases are made of ---


def test_a_tap_loses_as_many_answers_as_asked_of_that_kind_only() -> None:
    tap = Tap()
    tap.lose(Kind.PLACE, 2)
    assert [tap("cancel"), tap("place"), tap("place"), tap("place")] == [False, True, True, False]
    assert (tap.lost["place"], tap.passed["place"], tap.passed["cancel"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("instrument", "price", "size"),
    [
        (Instrument("a", "a", "a", 10_000, 10_000, 990_000, 10_000, 5_000_000), 500_000, 5_000_000),
        # worth more than the minimum: 1.2 / 0.10 = 12 shares
        (
            Instrument("b", "b", "b", 10_000, 10_000, 990_000, 10_000, 5_000_000, taker_notional=1_000_000),
            100_000,
            12_000_000,
        ),
        # at 60,000 a coin, 10 in money (and a fifth) is 0.0002 of it
        (Instrument("c", "c", "c", 10_000, 10_000, 0, 10, 10, min_notional=10_000_000), 60_000_000_000, 200),
    ],
)
def test_the_least_size_is_above_every_minimum(instrument: Instrument, price: int, size: int) -> None:
    assert instrument.least_size(price) == size


def test_a_check_is_good_when_something_passed_and_nothing_failed() -> None:
    def row(verdict: Verdict) -> Row:
        return Row(1, "k", "t", "r", "s", verdict, "", 0)

    assert report_of("v", "w", "", [], [row(Verdict.PASS), row(Verdict.NOT_APPLICABLE)]).ok
    assert not report_of("v", "w", "", [], [row(Verdict.NOT_APPLICABLE)]).ok
    assert not report_of("v", "w", "", [], [row(Verdict.PASS), row(Verdict.FAIL)]).ok
