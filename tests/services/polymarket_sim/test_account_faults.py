"""Wallets that may not trade, or only so much: the venue's words, and what the account calls show."""

from __future__ import annotations

from typing import Any

import pytest

from common.types import Side
from services.polymarket_sim.account_faults import spender_exists
from services.polymarket_sim.wallets import proxy_wallet
from tests.services.polymarket_sim.client import Http, place, send
from tests.services.polymarket_sim.house import CHAIN, UP, House, Person

V2 = "0xE111180000d2663C0091e4f400237545B87B996B"
V2_NEG_RISK = "0xe2222d279d744050d28e00520010520000310F59"
UNLIMITED = str(2**256 - 1)


async def balance(http: Http, house: House, person: Person, asset: str = "COLLATERAL") -> Any:
    query = f"asset_type={asset}&signature_type=0" + (f"&token_id={UP}" if asset != "COLLATERAL" else "")
    return (await send(http, house, person, f"GET /balance-allowance?{query}")).json


async def test_a_banned_address(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("address_banned", True, {})
    assert (await place(http, house, person)).refusal == (400, f"'{person.signer.address}' address banned")


async def test_an_account_in_closed_only_mode_may_sell(http: Http, house: House) -> None:
    person = Person()
    assert (await place(http, house, person, cents=47)).json["status"] == "matched"
    assert (await send(http, house, person, "GET /auth/ban-status/closed-only")).json == {"closed_only": False}
    house.venue.faults.set("closed_only", True, {})
    assert (await send(http, house, person, "GET /auth/ban-status/closed-only")).json == {"closed_only": True}
    text = f"'{person.signer.address}' address in closed only mode"
    assert (await place(http, house, person)).refusal == (400, text)
    assert (await send(http, house, person, "POST /order", person.sell(60, 10))).json["status"] == "live"


async def test_plain_addresses_may_be_sent_to_the_deposit_wallet_flow(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("deposit_wallet_only", True, {})
    text = "maker address not allowed, please use the deposit wallet flow"
    assert (await place(http, house, person)).refusal == (400, text)
    proxied = person.order(Side.BUY, 3_000_000, 10_000_000, maker=proxy_wallet(person.signer.address), signature_type=1)
    assert (await send(http, house, person, "POST /order", person.entry(proxied))).status == 200


async def test_an_empty_wallet(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("no_balance", True, {})
    assert (await balance(http, house, person))["balance"] == "0"
    assert (await place(http, house, person)).refusal == (400, "not enough balance / allowance: balance is 0")


async def test_an_allowance_that_is_too_low_is_named_with_its_spender(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("allowance", True, {"spender": "0", "amount": 2_999_999})
    shown = (await balance(http, house, person))["allowances"]
    assert (next(iter(shown)), list(shown.values())) == (V2, ["2999999", UNLIMITED, UNLIMITED])
    text = (
        f"not enough balance / allowance: the allowance is not enough -> spender: {V2}, allowance: 2999999, "
        "sum of matched orders: 0, order amount (inc. fees): 3000000"
    )
    assert (await place(http, house, person, cents=30)).refusal == (400, text)
    house.venue.faults.set("allowance", True, {"spender": "0", "amount": 3_000_000})
    assert (await place(http, house, person, cents=30)).status == 200


@pytest.mark.parametrize(
    ("parameters", "allowed"),
    [
        ({"spender": "all"}, False),
        ({"spender": V2.lower()}, False),
        ({"spender": V2_NEG_RISK}, True),
        ({"spender": "all", "asset": "CONDITIONAL"}, True),
        ({"spender": "all", "asset": "COLLATERAL"}, False),
    ],
)
async def test_whose_allowance_of_what_stops_a_buy(
    http: Http, house: House, parameters: dict[str, Any], allowed: bool
) -> None:
    house.venue.faults.set("allowance", True, parameters)
    assert ((await place(http, house, Person())).status == 200) is allowed


async def test_a_sell_needs_the_allowance_of_its_tokens(http: Http, house: House) -> None:
    person = Person()
    await place(http, house, person, cents=47)
    house.venue.faults.set("allowance", True, {"asset": "CONDITIONAL"})
    assert set((await balance(http, house, person, "CONDITIONAL"))["allowances"].values()) == {"0"}
    assert set((await balance(http, house, person))["allowances"].values()) == {UNLIMITED}
    _, text = (await send(http, house, person, "POST /order", person.sell(60, 10))).refusal
    assert text.endswith(f"spender: {V2}, allowance: 0, sum of matched orders: 0, order amount (inc. fees): 10000000")


@pytest.mark.parametrize(
    ("text", "exists"),
    [("all", True), ("0", True), ("2", True), (V2, True), (V2.upper(), True), ("3", False), ("0x12", False)],
)
def test_which_spenders_there_are(text: str, exists: bool) -> None:
    assert spender_exists(text, CHAIN) is exists
