"""What the doctor says about each answer of the venue: level, code, and a fix wherever something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from common.fixed import parse_micros
from common.messages import VenuePosition
from common.reasons import Reason
from common.types import Outcome
from common.venues.polymarket.errors import classify_cancel, classify_place
from services.gateway.doctor import polymarket as judge
from services.gateway.doctor.examine import geoblock_url
from services.gateway.doctor.findings import Code, Finding, Level, report_of
from services.gateway.polymarket import NOBODYS_ID, Answer

VECTORS = Path(__file__).parents[2] / "data" / "polymarket-vectors.json"
OWNED = json.loads(VECTORS.read_text())["wallet_derivation"]
OWNER, PROXY, SAFE = OWNED["owner"], OWNED["proxy_sig1"], OWNED["safe_sig2"]
DEPOSIT, OLD_DEPOSIT = OWNED["deposit_beacon_sig3"], OWNED["deposit_uups_sig3"]
STRANGER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
S = 10**9


def identity(signature_type: int = 0, funder: str = "") -> judge.Identity:
    return judge.Identity("main", OWNER, funder, signature_type, 137)


def answer(status: int, body: object = "") -> Answer:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Answer(status, raw)


def is_level(found: Finding, level: Level) -> None:
    assert found.level is level, found
    assert bool(found.fix) is (level in (Level.WARN, Level.FAIL)), found
    assert found.text


# --- key, address, funder, signature type ---


@pytest.mark.parametrize(
    ("signature_type", "funder", "level", "fix"),
    [
        (0, "", Level.OK, ""),
        (0, OWNER, Level.OK, ""),
        (0, OWNER.lower(), Level.OK, ""),
        (1, PROXY, Level.OK, ""),
        (2, SAFE, Level.OK, ""),
        (3, DEPOSIT, Level.OK, ""),
        (3, OLD_DEPOSIT, Level.OK, ""),
        (0, SAFE, Level.FAIL, "signature_type = 2"),
        (2, PROXY, Level.FAIL, "signature_type = 1"),
        (1, DEPOSIT, Level.FAIL, "signature_type = 3"),
        (2, OWNER, Level.FAIL, "signature_type = 0"),
        (0, STRANGER, Level.FAIL, "leave funder empty"),
        (1, STRANGER, Level.FAIL, PROXY),
        (2, STRANGER, Level.FAIL, SAFE),
        (3, STRANGER, Level.FAIL, DEPOSIT),
    ],
)
def test_key_funder_and_signature_type_must_name_one_wallet(
    signature_type: int, funder: str, level: Level, fix: str
) -> None:
    found = judge.funder_finding(identity(signature_type, funder))
    is_level(found, level)
    assert fix in found.fix


def test_credentials_of_another_key_are_named_with_the_command_that_derives_them() -> None:
    is_level(judge.address_finding("main", OWNER, OWNER, "f"), Level.OK)
    found = judge.address_finding("main", OWNER, STRANGER, "main.gateway.creds")
    is_level(found, Level.FAIL)
    assert "main.gateway.creds" in found.text
    assert "--derive --wallet main" in found.fix


# --- what the venue says to anybody ---


@pytest.mark.parametrize(
    ("reply", "level"),
    [
        (answer(200, "OK"), Level.OK),
        (Answer(0, text="NOT_SENT: refused", sent=False), Level.FAIL),
        (answer(425, {"error": "restarting"}), Level.FAIL),
        (answer(503, {"error": "Trading is currently disabled."}), Level.FAIL),
        (answer(403, b"<html>blocked</html>"), Level.FAIL),
    ],
)
def test_a_venue_that_does_not_answer_is_a_failure(reply: Answer, level: Level) -> None:
    is_level(judge.venue_finding(reply, "https://clob.example"), level)


@pytest.mark.parametrize(
    ("skew_ns", "level", "word"),
    [
        (0, Level.OK, "0 ms"),
        (1_999_000_000, Level.OK, "behind"),
        (2 * S, Level.WARN, "behind"),
        (-3 * S, Level.WARN, "ahead"),
        (10 * S, Level.FAIL, "behind"),
        (-11 * S, Level.FAIL, "ahead"),
    ],
)
def test_a_clock_is_warned_at_two_seconds_and_fails_at_ten(skew_ns: int, level: Level, word: str) -> None:
    found = judge.clock_finding(100 * S + skew_ns, 100 * S)
    is_level(found, level)
    assert word in found.text


@pytest.mark.parametrize(
    ("reply", "level"),
    [
        (answer(200, {"version": 2}), Level.OK),
        (answer(200, {"version": 3}), Level.FAIL),
        (answer(200, {"version": "two"}), Level.WARN),
        (answer(404), Level.SKIPPED),
        (answer(500, b"oops"), Level.WARN),
    ],
)
def test_orders_must_be_signed_for_the_version_the_venue_takes(reply: Answer, level: Level) -> None:
    found = judge.version_finding(reply, 2)
    is_level(found, level)
    if level is Level.FAIL:
        assert "protocol_version = 3" in found.fix


@pytest.mark.parametrize(
    ("reply", "level"),
    [
        (answer(200, {"blocked": False, "country": "CH", "region": "ZH"}), Level.OK),
        (answer(200, {"blocked": True, "country": "US", "region": None}), Level.FAIL),
        (answer(404), Level.SKIPPED),
        (answer(200, b"<html>"), Level.WARN),
        (Answer(0, text="TIMEOUT"), Level.WARN),
    ],
)
def test_a_geo_block_is_a_failure_and_a_missing_page_is_not(reply: Answer, level: Level) -> None:
    is_level(judge.geoblock_finding(reply), level)


@pytest.mark.parametrize(
    ("clob", "url"),
    [
        ("http://127.0.0.1:8090", "http://127.0.0.1:8090"),
        ("https://clob.polymarket.com", "https://polymarket.com"),
        ("https://clob.example.com", ""),
        ("https://notpolymarket.com", ""),
    ],
)
def test_the_geo_block_is_asked_where_the_venue_tells_it(clob: str, url: str) -> None:
    assert geoblock_url(clob) == url


# --- what it says to a key ---


@pytest.mark.parametrize(
    ("reply", "level", "fix"),
    [
        (answer(200, {"apiKeys": ["k"]}), Level.OK, ""),
        (answer(200, {"apiKeys": ["another"]}), Level.WARN, "--derive"),
        (answer(401, {"error": "Unauthorized/Invalid api key"}), Level.FAIL, "--derive --wallet main"),
        (answer(403, {"error": "address banned"}), Level.FAIL, "--derive --wallet main"),
        (Answer(403, b"<html>Attention Required! | Cloudflare</html>"), Level.FAIL, "another network"),
        (answer(500), Level.WARN, ""),
    ],
)
def test_an_api_key_that_is_refused_is_derived_anew(reply: Answer, level: Level, fix: str) -> None:
    found = judge.api_key_finding("main", reply, "k")
    is_level(found, level)
    assert fix in found.fix


def test_closed_only_and_tier_are_told() -> None:
    is_level(judge.closed_only_finding("main", answer(200, {"closed_only": False})), Level.OK)
    is_level(judge.closed_only_finding("main", answer(200, {"closed_only": True})), Level.FAIL)
    is_level(judge.closed_only_finding("main", answer(404)), Level.SKIPPED)
    found = judge.tier_finding("main", answer(200, {"tier": "Gold"}))
    assert "Gold" in found.text
    is_level(judge.tier_finding("main", answer(404)), Level.SKIPPED)


# --- money ---

SPENDERS = judge.spenders_of(2, 137)
ORDINARY, NEG_RISK, V3, ADAPTER = SPENDERS


def balance(cash: str, **allowances: str) -> Answer:
    given = {"ordinary": ORDINARY, "neg_risk": NEG_RISK, "v3": V3, "adapter": ADAPTER}
    spenders = {given[name]: str(parse_micros(amount)) for name, amount in allowances.items()}
    return answer(200, {"balance": str(parse_micros(cash)), "allowances": spenders})


def test_every_contract_that_takes_money_is_named_once() -> None:
    assert SPENDERS[ORDINARY] == judge.ORDINARY
    assert len(SPENDERS) == 4
    assert len(judge.spenders_of(3, 137)) == 2  # one contract for both kinds of market, and the adapter


@pytest.mark.parametrize(
    ("reply", "held", "levels"),
    [
        (
            balance("100", ordinary="100", neg_risk="100", v3="100", adapter="100"),
            None,
            [Level.OK, Level.OK, Level.OK, Level.OK, Level.OK],
        ),
        # only the contract nobody can do without is a failure
        (
            balance("100", ordinary="0", neg_risk="0", v3="0"),
            None,
            [Level.OK, Level.FAIL, Level.WARN, Level.WARN, Level.SKIPPED],
        ),
        (balance("100", ordinary="40"), None, [Level.OK, Level.WARN, Level.SKIPPED, Level.SKIPPED, Level.SKIPPED]),
        (balance("0.5", ordinary="100"), [], [Level.FAIL, Level.OK, Level.SKIPPED, Level.SKIPPED, Level.SKIPPED]),
        (
            balance("0", ordinary="100"),
            [VenuePosition("t", 1)],
            [Level.WARN, Level.OK, Level.SKIPPED, Level.SKIPPED, Level.SKIPPED],
        ),
    ],
)
def test_money_and_each_allowance(reply: Answer, held: list[VenuePosition] | None, levels: list[Level]) -> None:
    found = judge.money_findings("main", reply, held, SPENDERS, SAFE)
    assert [row.level for row in found] == levels
    assert found[0].code is Code.MONEY
    for row, address in zip(found[1:], SPENDERS, strict=True):
        assert row.code is Code.ALLOWANCE
        if row.level in (Level.WARN, Level.FAIL):
            assert address in row.fix
    if found[0].fix:
        assert SAFE in found[0].fix


def test_one_allowance_of_an_old_answer_speaks_for_every_contract() -> None:
    reply = answer(200, {"balance": "5000000", "allowance": "9000000"})
    assert {row.level for row in judge.money_findings("main", reply, None, SPENDERS, OWNER)} == {Level.OK}


def test_a_balance_that_cannot_be_read_is_one_finding() -> None:
    (found,) = judge.money_findings("main", answer(200, b"nonsense"), None, SPENDERS, OWNER)
    is_level(found, Level.WARN)


def test_selling_needs_the_approval_of_shares() -> None:
    is_level(judge.selling_finding("main", balance("0", ordinary="1"), ORDINARY), Level.OK)
    is_level(judge.selling_finding("main", balance("0", ordinary="0"), ORDINARY), Level.WARN)
    is_level(judge.selling_finding("main", answer(200, {"balance": "0"}), ORDINARY), Level.SKIPPED)


# --- the signed no-ops ---


def test_a_signature_must_lead_back_to_the_key() -> None:
    is_level(judge.signature_finding("main", OWNER, OWNER, 3), Level.OK)
    is_level(judge.signature_finding("main", OWNER, STRANGER, 0), Level.FAIL)


@pytest.mark.parametrize(
    ("status", "body", "level"),
    [
        (200, {"canceled": [], "not_canceled": {NOBODYS_ID: "Order not found or already canceled"}}, Level.OK),
        (200, {"canceled": [NOBODYS_ID], "not_canceled": {}}, Level.WARN),
        (425, {"error": "matching engine restarting"}, Level.FAIL),
        (503, {"error": "Trading is currently disabled. Check polymarket.com for updates"}, Level.FAIL),
        (401, {"error": "Unauthorized/Invalid api key"}, Level.FAIL),
        (429, {"error": "Too Many Requests"}, Level.WARN),
        (500, {"error": "oops"}, Level.WARN),
    ],
)
def test_a_cancel_that_changes_nothing_shows_what_the_venue_takes(status: int, body: object, level: Level) -> None:
    verdict = classify_cancel(status, msgspec.json.encode(body))
    is_level(judge.cancel_finding("main", verdict), level)


@pytest.mark.parametrize(
    ("status", "text", "level", "fix"),
    [
        (400, "invalid expiration", Level.OK, ""),
        (400, "order 0x1 is invalid. Size (0.01) lower than the minimum: 5", Level.OK, ""),
        (400, "not enough balance / allowance: balance is 0", Level.OK, ""),
        (400, "invalid signature", Level.FAIL, "signature_type"),
        (400, "the order signer address has to be the address of the API KEY", Level.FAIL, "--derive"),
        (400, "the order owner has to be the owner of the API KEY", Level.FAIL, "--derive"),
        (400, "maker address not allowed, please use the deposit wallet flow", Level.FAIL, DEPOSIT),
        (400, "order_version_mismatch", Level.FAIL, "protocol_version"),
        (400, "'0x1' address banned", Level.FAIL, "support"),
        (400, "'0x1' address in closed only mode", Level.FAIL, "support"),
        (403, "Trading restricted in your region, please refer to available regions", Level.FAIL, "GEOBLOCK"),
        (401, "Unauthorized/Invalid api key", Level.FAIL, "--derive"),
        (425, "matching engine restarting", Level.FAIL, "wait"),
        (
            503,
            "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed.",
            Level.FAIL,
            "",
        ),
        (503, "Trading is currently disabled. Check polymarket.com for updates", Level.FAIL, "wait"),
        (404, "No orderbook exists for the requested token id", Level.WARN, ""),
        (500, "could not insert order", Level.WARN, ""),
    ],
)
def test_an_order_that_must_be_refused_shows_whether_its_signature_was_believed(
    status: int, text: str, level: Level, fix: str
) -> None:
    verdict = classify_place(status, msgspec.json.encode({"error": text}))
    found = judge.order_finding(identity(), verdict, deposit_wallet=DEPOSIT)
    is_level(found, level)
    assert fix in found.fix


def test_an_order_that_was_accepted_against_all_sense_is_told() -> None:
    body = {"success": True, "errorMsg": "", "orderID": "0x1", "status": "live"}
    verdict = classify_place(200, msgspec.json.encode(body))
    assert verdict.outcome is Outcome.DONE
    is_level(judge.order_finding(identity(), verdict, deposit_wallet=DEPOSIT), Level.WARN)


def test_a_page_of_something_in_front_of_the_venue_is_named_as_that() -> None:
    verdict = classify_place(403, b"<html>Attention Required! | Cloudflare</html>")
    assert verdict.reason is Reason.VENUE_BLOCKED
    is_level(judge.order_finding(identity(), verdict, deposit_wallet=DEPOSIT), Level.FAIL)


# --- the report ---


def test_only_a_failure_means_that_it_cannot_trade() -> None:
    rows = [Finding(Code.MONEY, level, "main", "text") for level in (Level.OK, Level.WARN, Level.SKIPPED)]
    assert report_of("demo", rows).ok
    assert not report_of("demo", [*rows, Finding(Code.HALT, Level.FAIL, "", "text")]).ok
