"""What the venue refuses before matching, with its own words, and how exchange facts look to a viewer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from common.errors import Refusal
from common.messages import CancelAnswer, ExchangeOrder, ExchangeTrade, MakerFill, Refused
from common.reasons import Reason
from common.types import Settlement, Side, TimeInForce
from common.venues.polymarket.amounts import TICKS, immediate_amounts, limit_amounts
from common.venues.polymarket.orders import PostedOrder, order_id, parse_post_body
from common.venues.polymarket.user import OrderEvent, OrderEventKind, own_fills, parse_user_frame
from common.venues.polymarket.wire import VenueStatus, parse_open_order, parse_order_reply, parse_trade
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.translate import (
    batch_refusal,
    check_posted,
    is_scoring,
    merged_cancels,
    open_order,
    order_frame,
    refused_order,
    shown_address,
    submit_order,
    trade_frame,
    trade_view,
)
from services.polymarket_sim.wallets import wallets_of
from tests.services.polymarket_sim.house import CHAIN, CONDITION, DOWN, MARKET, START_NS, UP, Person

NOW_S = START_NS // 10**9
ME = Person(1)
OTHER = Person(2)


def check(entry: dict[str, Any], market: Any = MARKET, *, accept_v1: bool = False) -> str:
    """The id under which the order would be handed to matching."""
    posted = parse_post_body(entry)
    check_posted(posted, ME.key, market, chain_id=CHAIN, accept_v1=accept_v1, wall_ns=START_NS)
    return order_id(posted.order, CHAIN, market.neg_risk, posted.version)


def refusal(entry: dict[str, Any], market: Any = MARKET) -> str:
    with pytest.raises(Denied) as denied:
        check(entry, market)
    assert denied.value.status == 400
    return denied.value.text


def test_a_good_order_gets_the_id_its_signer_computed() -> None:
    order = ME.order(Side.BUY, 4_500_000, 10_000_000)
    assert check(ME.entry(order)) == order_id(order, CHAIN, False, 2)


def test_owner_signer_and_maker_must_be_the_keys() -> None:
    order = ME.order(Side.BUY, 4_500_000, 10_000_000)
    assert refusal(ME.entry(order, owner=OTHER.key.key)) == "the order owner has to be the owner of the API KEY"
    foreign = OTHER.order(Side.BUY, 4_500_000, 10_000_000)
    text = "the order signer address has to be the address of the API KEY"
    assert refusal(OTHER.entry(foreign, owner=ME.key.key)) == text
    funded = ME.order(Side.BUY, 4_500_000, 10_000_000, maker=OTHER.signer.address, signature_type=1)
    assert refusal(ME.entry(funded)) == "invalid signature"


@pytest.mark.parametrize("signature_type", [1, 2, 3])
def test_contract_wallets_of_the_signer_are_accepted(signature_type: int) -> None:
    for wallet in wallets_of(ME.signer.address)[signature_type]:
        signer = wallet if signature_type == 3 else ME.signer.address
        order = ME.order(Side.BUY, 4_500_000, 10_000_000, maker=wallet, signer=signer, signature_type=signature_type)
        assert check(ME.entry(order)) == order_id(order, CHAIN, False, 2)
        assert submit_order(parse_post_body(ME.entry(order)), "0x1", "c").account == wallet.lower()


def test_signatures_for_other_content_exchanges_and_versions_are_invalid() -> None:
    order = ME.order(Side.BUY, 4_500_000, 10_000_000)
    good = ME.entry(order)
    changed = msgspec.structs.replace(order, taker_amount=20_000_000)
    assert refusal(ME.entry(changed, signature=good["order"]["signature"])) == "invalid signature"
    assert refusal(ME.entry(order, neg_risk=True)) == "invalid signature"
    assert refusal(ME.entry(order, version=3)) == "invalid signature"
    assert check(ME.entry(order, neg_risk=True), msgspec.structs.replace(MARKET, neg_risk=True))
    assert refusal(ME.entry(order, signature="0x" + "00" * 65)) == "invalid signature"


def test_position_ids_are_signed_for_the_third_exchange() -> None:
    tokens = (str(int("01" + "ab" * 18 + "00" * 8 + "000000cd" + "00", 16)), DOWN)
    market = msgspec.structs.replace(MARKET, token_ids=tokens)
    order = ME.order(Side.BUY, 4_500_000, 10_000_000, token_id=int(tokens[0]))
    assert check(ME.entry(order, version=3), market) == order_id(order, CHAIN, False, 3)
    assert refusal(ME.entry(order, version=2), market) == "invalid signature"


@pytest.mark.parametrize(
    ("tif", "expiration", "accepted"),
    [
        (TimeInForce.GTD, NOW_S + 180, True),
        (TimeInForce.GTD, NOW_S + 179, False),
        (TimeInForce.GTD, 0, False),
        (TimeInForce.GTC, 0, True),
        (TimeInForce.GTC, NOW_S + 600, False),
    ],
)
def test_expirations(tif: TimeInForce, expiration: int, accepted: bool) -> None:
    entry = ME.buy(45, 10, tif, expiration=str(expiration))
    if not accepted:
        assert refusal(entry) == "invalid expiration"
        return
    check(entry)
    command = submit_order(parse_post_body(entry), "0x1", "c")
    assert command.expire_ns == ((expiration - 60) * 10**9 if expiration else 0)
    assert command.expiration == str(expiration)


@pytest.mark.parametrize(
    ("side", "tif", "maker", "taker", "text"),
    [
        (Side.BUY, "FOK", 4_501_000, 10_000_000, "the market buy orders maker amount supports a max accuracy of 2 "),
        (Side.BUY, "FAK", 4_500_000, 10_000_010, "taker amount a max of 4 decimals"),
        (Side.BUY, "FAK", 4_500_000, 10_000_100, ""),
        (Side.SELL, "FAK", 10_001_000, 4_500_000, "the sell orders maker amount supports a max accuracy of 2 decimals"),
        (Side.SELL, "FOK", 10_000_000, 4_500_010, "taker amount a max of 4 decimals"),
        (Side.BUY, "GTC", 4_500_900, 10_002_000, "the buy orders maker amount supports a max accuracy of 4 decimals"),
        (Side.BUY, "GTC", 4_500_900, 10_000_000, ""),
    ],
)
def test_amounts_with_too_many_decimals(side: Side, tif: str, maker: int, taker: int, text: str) -> None:
    entry = ME.entry(ME.order(side, maker, taker), TimeInForce[tif])
    if text:
        assert text in refusal(entry)
    else:
        check(entry)


@given(
    st.sampled_from(TICKS), st.sampled_from(list(Side)), st.integers(1, 10**4), st.integers(500, 10**6), st.booleans()
)
def test_whatever_our_own_rounding_signs_is_accepted_and_means_its_price(
    tick: int, side: Side, steps: int, cents: int, immediate: bool
) -> None:
    price, size = steps % (1_000_000 // tick - 1) * tick + tick, cents * 10_000
    try:
        amounts = (immediate_amounts if immediate else limit_amounts)(side, price, size, tick)
    except Refusal:  # too small to be signed at all
        reject()
    posted = parse_post_body(ME.entry(ME.order(side, *amounts), TimeInForce.FAK if immediate else TimeInForce.GTC))
    market = msgspec.structs.replace(MARKET, tick=tick)
    check_posted(posted, ME.key, market, chain_id=CHAIN, accept_v1=False, wall_ns=START_NS)
    command = submit_order(posted, "0x1", "c")
    worse = command.price - price if side is Side.BUY else price - command.price
    assert command.size <= size
    assert 0 <= worse < 100 if immediate else worse == 0


def test_refusals_of_the_exchange_become_statuses() -> None:
    for code, status in ((Reason.OVERLOADED, 429), (Reason.INTERNAL, 500), (Reason.POST_ONLY_CROSSES, 400)):
        assert refused_order(Refused("c", code, "words"), "0xid").status == status
    killed = refused_order(Refused("c", Reason.FOK_NOT_FILLED, "killed"), "0xid")
    assert killed.body == {"error": "killed", "orderID": "0xid"}
    leg = parse_order_reply(batch_refusal(Denied(400, "words")))
    assert (leg.success, leg.error, leg.order_id) == (True, "words", "")


def test_cancels_of_several_wallets_are_one_result() -> None:
    answers = [CancelAnswer("1", ["a"], {"b": "gone", "c": "gone"}), CancelAnswer("2", ["b"], {"a": "x", "c": "gone"})]
    assert merged_cancels(answers) == {"canceled": ["a", "b"], "not_canceled": {"c": "gone"}}


def exchange_order(**changes: Any) -> ExchangeOrder:
    order = ExchangeOrder(
        "0xid", ME.account, ME.key.key, CONDITION, UP, "Up", Side.BUY, 450_000, 10_000_000, 0, TimeInForce.GTC,
        False, "0", "LIVE", "", START_NS, START_NS + 5,
    )  # fmt: skip
    return msgspec.structs.replace(order, **changes)


@pytest.mark.parametrize(
    ("changes", "text", "status"),
    [
        ({}, "LIVE", VenueStatus.LIVE),
        ({"status": "MATCHED", "filled_size": 10_000_000}, "MATCHED", VenueStatus.MATCHED),
        ({"status": "CANCELED"}, "CANCELED", VenueStatus.CANCELED),
        ({"status": "EXPIRED"}, "CANCELED_EXPIRED_ORDER", VenueStatus.CANCELED_EXPIRED_ORDER),
        ({"status": "KILLED", "reason": "no"}, "CANCELED_no", VenueStatus.CANCELED_OTHER),
        ({"status": "KILLED", "reason": "rest", "filled_size": 1_000_000}, "CANCELED", VenueStatus.CANCELED),
    ],
)
def test_orders_are_shown_with_the_venues_words(changes: dict[str, Any], text: str, status: VenueStatus) -> None:
    order = exchange_order(**changes)
    shown = open_order(order)
    assert shown["status"] == text
    read = parse_open_order(shown)
    assert (read.status, read.maker_address, read.created_ns) == (status, ME.signer.address, START_NS)
    (event,) = parse_user_frame(order_frame(OrderEventKind.UPDATE, order))
    assert isinstance(event, OrderEvent)
    assert (event.status, event.size_matched, event.price) == (status, order.filled_size, 450_000)


def test_a_killed_order_has_empty_texts_on_the_user_channel() -> None:
    frame = msgspec.json.decode(order_frame(OrderEventKind.CANCELLATION, exchange_order(status="KILLED", reason="no")))
    assert (frame["size_matched"], frame["outcome"], frame["created_at"]) == ("", "", "")
    assert frame["status"] == "CANCELED_no"


def test_each_party_of_a_trade_finds_its_own_fill() -> None:
    makers = (
        MakerFill("0xm1", OTHER.account, OTHER.key.key, DOWN, "Down", Side.BUY, 4_000_000, 530_000),
        MakerFill("0xm2", "mm", "", UP, "Up", Side.SELL, 6_000_000, 470_000),
    )
    trade = ExchangeTrade(
        "t-1", CONDITION, "0xt", ME.account, ME.key.key, UP, "Up", Side.BUY, 10_000_000, 470_000, 0, 70_000,
        Settlement.MATCHED, "", START_NS, START_NS, makers,
    )  # fmt: skip
    mine = parse_trade(trade_view(trade, (ME.account,), ME.key.key, MARKET).to_wire())
    (fill,) = own_fills(mine, ME.key.key, {ME.signer.address})
    assert (fill.is_taker, fill.venue_order_id, fill.size, fill.cash) == (True, "0xt", 10_000_000, 4_700_000)
    frame = trade_frame(trade_view(trade, (OTHER.account,), OTHER.key.key, MARKET))
    (theirs,) = parse_user_frame(frame)
    assert not isinstance(theirs, OrderEvent)
    (fill,) = own_fills(theirs, OTHER.key.key, {OTHER.signer.address})  # type: ignore[arg-type]
    assert (fill.is_taker, fill.venue_order_id, fill.token_id, fill.size) == (False, "0xm1", DOWN, 4_000_000)
    assert [leg.outcome_index for leg in mine.maker_orders] == [1, 0]


def test_accounts_of_the_house_have_an_address_of_their_own() -> None:
    assert shown_address(ME.account) == ME.signer.address
    assert shown_address("mm") != shown_address("mm2")
    assert len(shown_address("mm")) == 42


def test_scoring_needs_age_size_and_nearness() -> None:
    later = START_NS + 4 * 10**9
    assert is_scoring(exchange_order(), 460_000, 5_000_000, later)
    assert not is_scoring(exchange_order(), 460_000, 5_000_000, START_NS + 10**9)
    assert not is_scoring(exchange_order(filled_size=6_000_000), 460_000, 5_000_000, later)
    assert not is_scoring(exchange_order(), 490_000, 5_000_000, later)
    assert not is_scoring(exchange_order(), None, 5_000_000, later)
    assert not is_scoring(exchange_order(status="CANCELED"), 460_000, 5_000_000, later)


def test_posted_order_type_is_what_clients_send() -> None:
    posted = parse_post_body(ME.buy(45, 10))
    assert isinstance(posted, PostedOrder)
    assert (posted.version, posted.owner) == (2, ME.key.key)
