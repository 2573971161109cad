"""The numbered cases. Each is data (number, key, title, rule, where the rule comes from) and one coroutine.

In: a Trial. Out: a few words on what was seen, or Broken. A case knows the port and the rig, never a venue; it makes
its own orders, and does not depend on the cases before it. Numbers and keys are stable: new cases go to the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import msgspec

from common.errors import Refusal
from common.fixed import floor_to, format_micros
from common.messages import CancelResult, Place, PlaceResult, QueryBalances, QueryPositions, Timings, VenueOrder
from common.reasons import Reason
from common.types import ONE, Outcome, RetryClass, TimeInForce
from common.venues.capabilities import DuplicateRefused
from services.gateway.conformance.case import Broken, Case, DoesNotApply, expect
from services.gateway.conformance.rig import Kind, Wanted
from services.gateway.conformance.trial import ATTEMPTS, LIVE, Trial, expect_done

CLOCK_MAX_NS = 10_000_000_000
CASES: list[Case] = []

Run = Callable[[Trial], Awaitable[str]]


def case(key: str, title: str, rule: str, section: str) -> Callable[[Run], Run]:
    def add(run: Run) -> Run:
        CASES.append(Case(len(CASES) + 1, key, title, rule, section, run))
        return run

    return add


def _shown(code: Reason, text: str) -> str:
    return f"{code.value}: {text}" if text else code.value


async def _is_refused(trial: Trial, wanted: Wanted, codes: Collection[Reason]) -> str:
    """The order is refused with one of these codes, and the venue does not have it."""
    refused = await trial.refusal(wanted)
    if refused is None:
        raise Broken("the order was accepted")
    code, text = refused
    words = " or ".join(sorted(word.value for word in codes))
    expect(code in codes, f"refused with {_shown(code, text)}, not with {words}")
    return _shown(code, text)


# --- life ---


@case(
    "health", "the venue answers, and its clock is ours", "a cheap question is answered; skew stays below 10 s", "§4.1"
)
async def health(trial: Trial) -> str:
    answer = await trial.adapter.health()
    expect(answer.ok, f"the venue does not answer: {answer.text}")
    if not answer.clock_ns:
        return "it shows no clock"
    skew_ns = abs(answer.clock_ns - trial.now_ns())
    expect(skew_ns < CLOCK_MAX_NS, f"the venue's clock is {skew_ns // 1_000_000} ms away from ours")
    return f"the clocks differ by {skew_ns // 1_000_000} ms"


@case("wallets", "every wallet is announced", "orders are pinned only for wallets the gateway has keys of", "arch §5")
async def wallets(trial: Trial) -> str:
    ready = {row.wallet: row for row in trial.adapter.wallets()}
    row = ready.get(trial.rig.wallet)
    expect(
        row is not None and row.venue == trial.venue, f"{trial.rig.wallet} of {trial.venue} is not among {list(ready)}"
    )
    return f"{len(ready)} announced"


@case("probe", "a probe changes nothing", "after a restart the order endpoints are asked something harmless", "§7.3")
async def probe(trial: Trial) -> str:
    before = set(await trial.listed())
    answer = await trial.adapter.probe()
    expect(answer.outcome is not Outcome.UNKNOWN, f"the probe ended UNKNOWN {_shown(answer.code, answer.text)}")
    expect(answer.retry is not RetryClass.AFTER, f"the venue asks to wait: {_shown(answer.code, answer.text)}")
    expect(before == set(await trial.listed()), "the probe changed the open orders")
    return f"{answer.outcome.value} {_shown(answer.code, answer.text)}"


@case("money", "money and holdings can be read", "a reading that is not complete says so", "§4.4, §8.2")
async def money(trial: Trial) -> str:
    wallet = trial.rig.wallet
    balances = await trial.adapter.balances(QueryBalances(trial.next_id(), trial.venue, wallet))
    expect(balances.outcome is Outcome.DONE, f"the balance ended {_shown(balances.code, balances.text)}")
    held = await trial.adapter.positions(QueryPositions(trial.next_id(), trial.venue, wallet))
    if trial.adapter.capabilities.positions:
        expect(held.outcome is Outcome.DONE, f"the positions ended {_shown(held.code, held.text)}")
        expect(held.complete, "the list of positions is not complete")
    else:
        expect(not held.complete, "a venue without positions claims a complete list of them")
    return f"{format_micros(balances.cash)} in money, {len(held.positions)} held"


# --- accept ---


@case("accept", "a limit order rests", "accepted with our id, which is known before it is sent", "§3.5, §3.6")
async def accept(trial: Trial) -> str:
    sent = await trial.rest()
    expect(not (sent.result.making or sent.result.taking), "it matched, far from the market")
    return f"{sent.result.status or 'accepted'}"


@case("found", "a resting order is found and listed as it was signed", "by id and among the open orders", "§4.4")
async def found(trial: Trial) -> str:
    wanted = await trial.resting()
    sent = await trial.place(wanted)
    expect_done(sent.result, "a small resting order")
    order = await trial.known_order(sent.order_id)
    _is_as_wanted(order, wanted)
    listed = await trial.until(lambda: _listed(trial, sent.order_id), "it is not among the open orders")
    _is_as_wanted(listed, wanted)
    return f"{format_micros(order.size)} at {format_micros(order.price)}, {order.status}"


async def _listed(trial: Trial, order_id: str) -> VenueOrder | None:
    return (await trial.listed()).get(order_id)


def _is_as_wanted(order: VenueOrder, wanted: Wanted) -> None:
    expect(order.status == LIVE, f"the status is {order.status}, not {LIVE}")
    told = (order.token_id, order.side, order.price, order.size, order.filled_size)
    asked = (wanted.token_id, wanted.side, wanted.price, wanted.size, 0)
    expect(told == asked, f"the venue tells {told}, sent was {asked}")


@case(
    "absent", "an order that never was is proven absent", "absence is an answer of the venue, never a guess", "arch §7"
)
async def absent(trial: Trial) -> str:
    never_sent = trial.rig.order(await trial.resting())
    answer = await trial.look_up(never_sent.venue_order_id)
    expect(
        answer.outcome is Outcome.DONE, f"the look-up ended {answer.outcome.value} {_shown(answer.code, answer.text)}"
    )
    expect(answer.order is None and not answer.found, "it was found")
    return _shown(answer.code, answer.text)


@case("gtd", "an order with an end rests until then", "only where the venue has them", "§3.4")
async def gtd(trial: Trial) -> str:
    if not trial.adapter.capabilities.gtd:
        raise DoesNotApply("this venue has no orders with an end")
    wanted = await trial.resting()
    ends_ns = trial.now_ns() + trial.rig.gtd_life_ns
    sent = await trial.place(wanted._replace(tif=TimeInForce.GTD, expire_ns=ends_ns))
    expect_done(sent.result, "an order with an end")
    order = await trial.known_order(sent.order_id)
    expect(order.status == LIVE, f"it is {order.status}")
    return order.status


# --- refusals: each kind by its own code ---


@case("bad_tick", "a price off the grid is refused", "with BAD_TICK or BAD_PRICE", "§3.7")
async def bad_tick(trial: Trial) -> str:
    quote = await trial.quote()
    tick = quote.instrument.tick
    if tick < 2:
        raise DoesNotApply("every price is on this grid")
    price = quote.resting_price + tick // 2
    size = quote.instrument.least_size(quote.resting_price)
    if size >= ONE:
        size += -size % (ONE // 10)  # a longer one would have too many decimals as an amount, which is another fault
    wanted = Wanted(quote.instrument.token_id, price, size)
    return await _is_refused(trial, wanted, {Reason.BAD_TICK, Reason.BAD_PRICE})


@case(
    "too_small", "an order below the minimum is refused", "with SIZE_TOO_SMALL, NOTIONAL_TOO_SMALL or BAD_SIZE", "§3.7"
)
async def too_small(trial: Trial) -> str:
    quote = await trial.quote()
    instrument, price = quote.instrument, quote.resting_price
    by_worth = instrument.min_notional * ONE // price if instrument.min_notional else 0
    size = floor_to(max(instrument.min_size, by_worth) // 2, instrument.size_step)
    if not 0 < size < max(instrument.min_size, by_worth):
        raise DoesNotApply("no size on the grid is too small here")
    codes = {Reason.SIZE_TOO_SMALL, Reason.NOTIONAL_TOO_SMALL, Reason.BAD_SIZE}
    return await _is_refused(trial, Wanted(instrument.token_id, price, size), codes)


@case("no_money", "an order above the balance is refused", "with INSUFFICIENT_BALANCE", "§3.7, §6")
async def no_money(trial: Trial) -> str:
    return await _is_refused(trial, await _too_dear(trial), {Reason.INSUFFICIENT_BALANCE})


async def _too_dear(trial: Trial) -> Wanted:
    """A resting order worth twice what the wallet has."""
    quote = await trial.quote()
    price = quote.resting_price
    size = floor_to(2 * await trial.cash() * ONE // price, quote.instrument.size_step)
    return Wanted(quote.instrument.token_id, price, size + quote.instrument.least_size(price))


@case("post_only", "a post-only order that would take is refused", "with POST_ONLY_CROSSES; it never takes", "§3.7, §6")
async def post_only(trial: Trial) -> str:
    if not trial.adapter.capabilities.post_only:
        raise DoesNotApply("this venue has no post-only orders")
    for _ in range(ATTEMPTS):
        quote = await trial.quote()
        price = quote.taking_price
        wanted = Wanted(quote.instrument.token_id, price, quote.instrument.least_size(price), post_only=True)
        refused = await trial.refusal(wanted)
        if refused is not None:
            code, text = refused
            expect(code is Reason.POST_ONLY_CROSSES, f"refused with {_shown(code, text)}")
            return _shown(code, text)
        await trial.sweep()  # the offers had moved further than a tenth: it rests
    raise DoesNotApply(f"the book moved away {ATTEMPTS} times")


@case("unknown_market", "an order for a market that is not there is refused", "with UNKNOWN_MARKET", "§3.7")
async def unknown_market(trial: Trial) -> str:
    wanted = (await trial.resting())._replace(token_id=trial.rig.unknown_token())
    return await _is_refused(trial, wanted, {Reason.UNKNOWN_MARKET})


@case("fok", "a fill-or-kill order that cannot be filled is refused", "with FOK_NOT_FILLED, and nothing rests", "§3.7")
async def fok(trial: Trial) -> str:
    if not trial.adapter.capabilities.fok:
        raise DoesNotApply("this venue has no fill-or-kill orders")
    return await _is_killed(trial, TimeInForce.FOK, Reason.FOK_NOT_FILLED)


@case("fak", "an immediate order that finds nothing is refused", "with FAK_NOT_FILLED, and nothing rests", "§3.7")
async def fak(trial: Trial) -> str:
    return await _is_killed(trial, TimeInForce.FAK, Reason.FAK_NOT_FILLED)


async def _is_killed(trial: Trial, tif: TimeInForce, code: Reason) -> str:
    told = await _is_refused(trial, (await trial.resting())._replace(tif=tif), {code})
    open_now = await trial.listed()
    expect(not any(trial.was_sent(order_id) for order_id in open_now), "it rests although it was killed")
    return told


# --- fills ---


@case("fill", "an order that takes is filled at once, exactly", "its fills are listed once each and add up", "§4.5")
async def fill(trial: Trial) -> str:
    sent = await trial.take()
    result = sent.result
    expect(result.taking > 0 and result.making > 0, f"gave {result.making} and got {result.taking} micros")
    fills = await trial.until_filled(sent.order_id, result.taking)
    again = await trial.fills(sent.order_id)
    expect(
        {row.trade_id for row in again} == {row.trade_id for row in fills} and len(again) == len(fills),
        "asked twice, the venue lists other trades",
    )
    expect(all(row.is_taker for row in fills), "a fill is told as a maker's")
    expect(sum(row.cash for row in fills) == result.making, "the money of the fills is not what the order gave")
    return f"{format_micros(result.taking)} for {format_micros(result.making)} in {len(fills)} trades"


@case(
    "partial", "what is filled in part rests with the rest", "filled so far is exact, and stays so when cancelled", "§6"
)
async def partial(trial: Trial) -> str:
    for _ in range(ATTEMPTS):
        quote = await trial.quote(takes=True)
        instrument, price = quote.instrument, quote.ask
        size = floor_to(quote.ask_size, instrument.size_step) + 2 * instrument.least_size(price)
        sent = await trial.place(Wanted(instrument.token_id, price, size))
        expect_done(sent.result, "an order for more than the best offer")
        order = await trial.known_order(sent.order_id)
        if 0 < order.filled_size < order.size:
            break
        await trial.sweep()  # the offer moved away, or grew
    else:
        raise DoesNotApply(f"the book moved away {ATTEMPTS} times")
    expect(order.status == LIVE, f"partly filled it is {order.status}")
    cancelled = await trial.cancel(sent.order_id)
    expect_done(cancelled, "the cancel of the rest")
    await trial.until_unlisted(sent.order_id)
    over = await trial.order(sent.order_id)
    filled = over.filled_size if over is not None else order.filled_size
    expect(filled >= order.filled_size, "after the cancel less is filled than before")
    fills = await trial.until_filled(sent.order_id, filled)
    return f"{format_micros(filled)} of {format_micros(order.size)} in {len(fills)} trades"


# --- cancels ---


@case("cancel", "a resting order is cancelled", "it is named as cancelled, and no longer open", "§4.4")
async def cancel(trial: Trial) -> str:
    sent = await trial.rest()
    result = await trial.cancel(sent.order_id)
    expect_done(result, "the cancel")
    expect(result.canceled == [sent.order_id], f"it names {result.canceled} as cancelled")
    await trial.until_unlisted(sent.order_id)
    order = await trial.order(sent.order_id)
    expect(order is None or order.status != LIVE, "it is over and looked up as LIVE")
    return "gone" if order is None else order.status


@case("cancel_unknown", "the cancel of an unknown order is answered", "DONE, and ORDER_NOT_FOUND for that id", "§4.4")
async def cancel_unknown(trial: Trial) -> str:
    never_sent = trial.rig.order(await trial.resting()).venue_order_id
    result = await trial.cancel(never_sent)
    expect_done(result, "the cancel")
    expect(not result.canceled, f"it claims to have cancelled {result.canceled}")
    told = result.not_canceled.get(never_sent, "")
    expect(told.startswith(Reason.ORDER_NOT_FOUND.value), f"the answer for this id is {told!r}")
    return told


@case("cancel_filled", "a cancel that comes too late says so", "a filled order is never told as cancelled", "§4.4")
async def cancel_filled(trial: Trial) -> str:
    sent = await trial.take()
    result = await trial.cancel(sent.order_id)
    expect_done(result, "the cancel")
    expect(not result.canceled, "an order that is over was told as cancelled")
    told = result.not_canceled.get(sent.order_id, "")
    over = (Reason.INVALID_ORDER_STATE.value, Reason.ORDER_NOT_FOUND.value)
    expect(told.startswith(over), f"the answer for this id is {told!r}")
    await trial.until_filled(sent.order_id, sent.result.taking)
    return told


@case("cancel_race", "a cancel sent together with its order", "whoever wins, both answers are true", "§6, §12")
async def cancel_race(trial: Trial) -> str:
    """Once with an order that takes, whose cancel is a moment behind; once with one that rests, its cancel ahead."""
    quote = await trial.quote()
    price = quote.taking_price
    takes = trial.rig.order(Wanted(quote.instrument.token_id, price, quote.instrument.least_size(price)))
    result, cancelled = await asyncio.gather(trial.send(takes), trial.cancel(takes.venue_order_id))
    first = await _is_true_of_race(trial, result, cancelled)
    rests = trial.rig.order(await trial.resting())
    cancelled, result = await asyncio.gather(trial.cancel(rests.venue_order_id), trial.send(rests))
    second = await _is_true_of_race(trial, result, cancelled)
    return f"one that takes: {first}; one that rests: {second}"


async def _is_true_of_race(trial: Trial, result: PlaceResult, cancelled: CancelResult) -> str:
    """What both answers say is so at the venue, now and after another cancel."""
    order_id = result.venue_order_id
    expect_done(result, "the order")
    expect_done(cancelled, "the cancel")
    order = await trial.known_order(order_id)
    if order_id in cancelled.canceled:
        expect(order.status != LIVE, "it was told as cancelled and is open")
        expect(order.filled_size < order.size, "it was told as cancelled and was filled whole")
    await trial.cancel(order_id)
    await trial.until_unlisted(order_id)
    over = await trial.order(order_id)
    filled = over.filled_size if over is not None else order.filled_size
    await trial.until_filled(order_id, filled)
    winner = "the cancel" if order_id in cancelled.canceled else "the order"
    return f"{winner} won, {format_micros(filled)} filled"


# --- when the line breaks ---


@case("lost_place", "an answer that is lost leaves the outcome open", "UNKNOWN and LOOK_UP, never refused", "arch §7")
async def lost_place(trial: Trial) -> str:
    wanted = await trial.resting()
    trial.rig.tap.lose(Kind.PLACE)
    sent = await trial.place(wanted)
    expect(trial.rig.tap.lost[Kind.PLACE], "the adapter asked no tap whether its answer is lost")
    told = f"{sent.result.outcome.value} {sent.result.retry.value} {_shown(sent.result.code, sent.result.text)}"
    expect(sent.result.outcome is Outcome.UNKNOWN, f"the place ended {told}")
    expect(sent.result.retry is RetryClass.LOOK_UP, f"the place ended {told}")
    order = await trial.known_order(sent.order_id)
    _is_as_wanted(order, wanted)
    return f"{told}; the look-up finds it {order.status}"


@case("lost_cancel", "a cancel whose answer is lost may be sent again", "UNKNOWN; the second says what is so", "§4.4")
async def lost_cancel(trial: Trial) -> str:
    sent = await trial.rest()
    trial.rig.tap.lose(Kind.CANCEL)
    first = await trial.cancel(sent.order_id)
    expect(trial.rig.tap.lost[Kind.CANCEL], "the adapter asked no tap whether its answer is lost")
    expect(first.outcome is Outcome.UNKNOWN, f"the cancel ended {first.outcome.value} {_shown(first.code, first.text)}")
    expect(not first.canceled, "it claims to have cancelled what it heard nothing about")
    second = await trial.cancel(sent.order_id)
    expect_done(second, "the second cancel")
    await trial.until_unlisted(sent.order_id)
    return second.not_canceled.get(sent.order_id, "cancelled")


@case(
    "lost_query", "a look-up whose answer is lost proves nothing", "not DONE, so absence is never concluded", "arch §7"
)
async def lost_query(trial: Trial) -> str:
    never_sent = trial.rig.order(await trial.resting()).venue_order_id
    trial.rig.tap.lose(Kind.QUERY)
    answer = await trial.look_up(never_sent)
    expect(trial.rig.tap.lost[Kind.QUERY], "the adapter asked no tap whether its answer is lost")
    trial.rig.tap.stop()
    expect(answer.outcome is not Outcome.DONE, "the look-up ended DONE")
    expect(answer.order is None and not answer.found, "it found something")
    return f"{answer.outcome.value} {_shown(answer.code, answer.text)}"


@case(
    "not_sent",
    "a venue that cannot be reached got nothing",
    "REFUSED, so the order has ended and may be made anew",
    "arch §7",
)
async def not_sent(trial: Trial) -> str:
    place = trial.rig.order(await trial.resting())
    away = await trial.rig.unreachable()
    try:
        first = await away.place(away.prepare(place), trial.now_ns(), resent=False)
        again = await away.place(away.prepare(place), trial.now_ns(), resent=True)
        healthy = await away.health()
    finally:
        await away.close()
    told = f"{first.outcome.value} {_shown(first.code, first.text)}"
    expect(first.outcome is Outcome.REFUSED, f"the place ended {told}")
    expect(again.outcome is Outcome.UNKNOWN, f"sent again it ended {again.outcome.value}: the first copy may be there")
    expect(not healthy.ok, "the venue is not there and health says it is")
    expect(await trial.order(place.venue_order_id) is None, "the venue has it")
    return told


@case("reconnect", "after all connections were dropped the next request works", "nobody has to be told", "§5.1")
async def reconnect(trial: Trial) -> str:
    first = await trial.rest()
    await trial.rig.reconnect()
    second = await trial.rest()
    await trial.rig.reconnect()
    result = await trial.cancel(second.order_id)
    expect_done(result, "the cancel after a reconnect")
    expect(result.canceled == [second.order_id], f"it names {result.canceled} as cancelled")
    await trial.rig.reconnect()
    expect(first.order_id in await trial.listed(), "the order from before is no longer open")
    return "a place, a cancel and a list after three cuts"


# --- the same order twice ---


@case(
    "duplicate_open",
    "the same order sent twice is there once",
    "and the second is not told as refused",
    "arch §7, §3.4",
)
async def duplicate_open(trial: Trial) -> str:
    if trial.adapter.capabilities.duplicate_refused is DuplicateRefused.NEVER:
        raise DoesNotApply("this venue knows no order ids; places are never sent again")
    place = trial.rig.order(await trial.resting())
    first = await trial.send(place)
    expect_done(first, "the first copy")
    before = await trial.listed()
    second = await trial.send(place, resent=True)
    expect(second.outcome is not Outcome.REFUSED, f"the second copy ended REFUSED {second.text}")
    await trial.known_order(place.venue_order_id)
    expect(set(before) == set(await trial.listed()), "the second copy made another order")
    return f"{second.outcome.value} {_shown(second.code, second.text)}"


@case(
    "duplicate_over",
    "the same order sent again after its end stays over",
    "where places are sent again",
    "arch §7, §3.4",
)
async def duplicate_over(trial: Trial) -> str:
    if trial.adapter.capabilities.duplicate_refused is not DuplicateRefused.FOREVER:
        word = trial.adapter.capabilities.duplicate_refused.value
        raise DoesNotApply(f"the venue refuses an id {word}; a place is looked up, never sent again")
    place = trial.rig.order(await trial.resting())
    expect_done(await trial.send(place), "the first copy")
    expect_done(await trial.cancel(place.venue_order_id), "its cancel")
    await trial.until_unlisted(place.venue_order_id)
    second = await trial.send(place, resent=True)
    expect(second.outcome is not Outcome.REFUSED, "the second copy was told as refused")
    expect(place.venue_order_id not in await trial.listed(), "it is open again")
    order = await trial.order(place.venue_order_id)
    expect(order is None or order.status != LIVE, "it is looked up as LIVE again")
    return f"{second.outcome.value} {_shown(second.code, second.text)}"


# --- several at once ---


@case(
    "batch", "every leg of a batch is judged alone", "a bad leg ends no other; results in the order of the legs", "§3.6"
)
async def batch(trial: Trial) -> str:
    _needs_batches(trial)
    good, dear = await trial.resting(), await _too_dear(trial)
    places = [trial.rig.order(wanted) for wanted in (good, dear, good)]
    results = await trial.send_batch(places)
    for leg in (0, 2):
        expect_done(results[leg], f"leg {leg + 1}")
        expect(places[leg].venue_order_id in await trial.listed(), f"leg {leg + 1} is not open")
    bad = results[1]
    expect(bad.outcome is Outcome.REFUSED, f"leg 2 is {bad.outcome.value}: {_shown(bad.code, bad.text)}")
    expect(bad.code is Reason.INSUFFICIENT_BALANCE, f"leg 2 was refused with {_shown(bad.code, bad.text)}")
    return f"legs 1 and 3 rest, leg 2 {bad.code.value}"


@case(
    "lost_batch", "a batch whose answer is lost leaves every leg open", "UNKNOWN and LOOK_UP for each", "§3.6, arch §7"
)
async def lost_batch(trial: Trial) -> str:
    _needs_batches(trial)
    good = await trial.resting()
    places = [trial.rig.order(good), trial.rig.order(good)]
    trial.rig.tap.lose(Kind.PLACE)
    results = await trial.send_batch(places)
    for number, result in enumerate(results, 1):
        told = f"leg {number} ended {result.outcome.value} {result.retry.value}"
        expect((result.outcome, result.retry) == (Outcome.UNKNOWN, RetryClass.LOOK_UP), told)
    for place in places:
        await trial.known_order(place.venue_order_id)
    return "each leg is found by its id"


def _needs_batches(trial: Trial) -> None:
    if trial.adapter.capabilities.place_batch_max < 2:
        raise DoesNotApply("this venue takes one order in a request")


@case("cancel_batch", "several orders are cancelled with one request", "each id is answered", "§4.4")
async def cancel_batch(trial: Trial) -> str:
    if trial.adapter.capabilities.cancel_batch_max < 2:
        raise DoesNotApply("this venue cancels one order in a request")
    ids = [(await trial.rest()).order_id, (await trial.rest()).order_id]
    never_sent = trial.rig.order(await trial.resting()).venue_order_id
    result = await trial.cancel(*ids, never_sent)
    expect_done(result, "the cancel")
    expect(sorted(result.canceled) == sorted(ids), f"of {ids} it names {result.canceled} as cancelled")
    expect(list(result.not_canceled) == [never_sent], f"not cancelled are {list(result.not_canceled)}")
    await trial.until_unlisted(*ids)
    return f"{len(ids)} cancelled, 1 unknown"


@case(
    "cancel_wallet",
    "one call cancels everything of the wallet",
    "and leaves none; a market narrows it",
    "§4.4, arch §5",
)
async def cancel_wallet(trial: Trial) -> str:
    if not trial.adapter.capabilities.cancel_wallet:
        raise DoesNotApply("this venue has no such call; orders are cancelled by their ids")
    foreign = [order_id for order_id in await trial.listed() if not trial.was_sent(order_id)]
    if foreign:
        raise DoesNotApply(f"the wallet has {len(foreign)} open orders of somebody else, which it would cancel")
    first = await trial.rest()
    try:
        second = await trial.rest(without=trial.condition_of(first))
    except DoesNotApply:
        second = await trial.rest()
    else:
        narrow = await trial.cancel_wallet(condition_id=trial.condition_of(first))
        expect_done(narrow, "the cancel of one market")
        await trial.until_unlisted(first.order_id)
        expect(second.order_id in await trial.listed(), "the cancel of one market took another one along")
    whole = await trial.cancel_wallet()
    expect_done(whole, "the cancel of the wallet")
    await trial.until_unlisted(first.order_id, second.order_id)
    left = await trial.listed()
    expect(not left, f"{len(left)} are still open")
    return f"{len(whole.canceled)} cancelled by the last call, none left"


# --- what the gateway relies on ---


@case(
    "malformed",
    "a pinned order that cannot be read is refused before sending",
    "by prepare(), with the field",
    "arch §5",
)
async def malformed(trial: Trial) -> str:
    place = trial.rig.order(await trial.resting())
    half = place.pinned[: len(place.pinned) // 2]
    refusals = [_not_prepared(trial, place, pinned=raw) for raw in (b"", b"\xc1", b"\x90", half, place.pinned[:-1])]
    fields = {refusal.field for refusal in refusals}
    expect(fields == {"pinned"}, f"the refusals name the fields {sorted(fields)}")
    return _shown(refusals[1].code, refusals[1].message)


@case("altered", "an order that is not the pinned one is refused before sending", "another id or wallet", "arch §5")
async def altered(trial: Trial) -> str:
    wanted = await trial.resting()
    place, other = trial.rig.order(wanted), trial.rig.order(wanted)
    refusals = [
        _not_prepared(trial, place, venue_order_id=other.venue_order_id),
        _not_prepared(trial, place, pinned=other.pinned),
        _not_prepared(trial, place, wallet=f"not-{place.wallet}"),
    ]
    return ", ".join(dict.fromkeys(refusal.code.value for refusal in refusals))


def _not_prepared(trial: Trial, place: Place, **changes: object) -> Refusal:
    """The refusal of prepare() for a changed order; nothing is sent."""
    try:
        trial.adapter.prepare(msgspec.structs.replace(place, **changes))
    except Refusal as refusal:
        return refusal
    raise Broken(f"prepare() took an order with another {' and '.join(changes)}")


@case(
    "times",
    "results carry the time of each stage",
    "received, signed, sent, first byte, answered, in this order",
    "arch §3",
)
async def times(trial: Trial) -> str:
    before_ns = trial.now_ns()
    sent = await trial.rest()
    cancelled = await trial.cancel(sent.order_id)
    after_ns = trial.now_ns()
    place, cancel_ = sent.result.timings, cancelled.timings
    _in_order(before_ns, place.received_ns, place.signed_ns, *_answered(place), after_ns)
    _in_order(before_ns, cancel_.received_ns, *_answered(cancel_), after_ns)
    took = (place.answered_ns - place.sent_ns, cancel_.answered_ns - cancel_.sent_ns)
    return f"a place took {took[0] // 1000} µs, a cancel {took[1] // 1000} µs"


def _answered(timings: Timings) -> tuple[int, int, int]:
    return timings.sent_ns, timings.first_byte_ns, timings.answered_ns


def _in_order(*stages: int) -> None:
    expect(list(stages) == sorted(stages), f"the stages are not in order: {stages}")


@case("secrets", "no secret is in anything that could be printed", "keys and credentials show in no repr", "arch §8")
async def secrets(trial: Trial) -> str:
    hidden = [text for text in trial.rig.secrets if text]
    if not hidden:
        raise DoesNotApply("this venue has no secrets")
    printed = [repr(trial.adapter), str(trial.adapter), repr(getattr(trial.adapter, "__dict__", ""))]
    printed += [repr(value) for value in (*trial.adapter.wallets(), *trial.seen)]
    text = "\n".join(printed).lower()
    leaks = sum(secret.lower() in text for secret in hidden)
    expect(not leaks, f"{leaks} of {len(hidden)} secrets are in a repr")
    return f"{len(hidden)} looked for in {len(printed)} texts"
