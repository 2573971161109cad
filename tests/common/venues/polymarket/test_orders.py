"""Orders reproduce every vector byte for byte, agree with eth_account on random ones, and bodies are read strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Refusal
from common.reasons import Reason
from common.types import Side, TimeInForce
from common.venues.polymarket import contracts
from common.venues.polymarket.contracts import CHAIN_ID_POLYGON, exchange_address
from common.venues.polymarket.orders import (
    SALT_MAX,
    OrderV1,
    OrderV2,
    order_digest,
    order_id,
    parse_post_batch,
    parse_post_body,
    post_batch_body,
    post_body,
    post_entry,
    recover_order_signer,
    sign_order,
)
from common.venues.polymarket.signing import domain_separator, keccak

from .vectors import CAPTURE, README, SIGNER, TOKEN, VECTORS, by_name, order_of

SIGNED = VECTORS["orders_v1"] + VECTORS["orders_v2"]
UNIFIED = VECTORS["orders_unified_sdk"]


def place_of(vector: dict[str, Any]) -> tuple[int, bool, int]:
    return vector["domain"]["chainId"], vector["inputs"]["neg_risk"], int(vector["domain"]["version"])


@by_name(SIGNED)
def test_order_id_signature_and_body_of_every_vector(vector: dict[str, Any]) -> None:
    order, (chain_id, neg_risk, version) = order_of(vector), place_of(vector)
    assert order_id(order, chain_id, neg_risk, version) == vector["order_hash"]
    signature = sign_order(order, SIGNER, chain_id, neg_risk, version)
    assert signature == vector["signature"]
    inputs = vector["inputs"]
    body = post_body(
        order,
        signature,
        vector["post_body"]["owner"],
        inputs["order_type"],
        inputs["post_only"],
        defer_exec=inputs.get("defer_exec", False),
        expiration=vector.get("wire_expiration", "0"),
    )
    assert body.decode() == vector["post_body_serialized"]


@by_name(SIGNED)
def test_every_vector_body_is_read_back_and_its_signer_recovered(vector: dict[str, Any]) -> None:
    chain_id, neg_risk, version = place_of(vector)
    posted = parse_post_body(vector["post_body_serialized"])
    assert posted.order == order_of(vector)
    assert posted.version == version
    assert posted.owner == vector["post_body"]["owner"]
    assert posted.order_type == TimeInForce(vector["inputs"]["order_type"])
    assert posted.post_only == vector["inputs"]["post_only"]
    assert posted.expiration == vector["inputs"].get("expiration", 0)
    assert posted.signature_type == vector["inputs"]["signature_type"]
    assert posted.side is Side(vector["inputs"]["side"])
    signer = recover_order_signer(posted.order, posted.signature, chain_id, neg_risk, version)
    assert signer == README["address"]


@by_name(UNIFIED)
def test_every_unified_vector_is_read_signed_and_named_alike(vector: dict[str, Any]) -> None:
    chain_id, neg_risk, version = place_of(vector)
    posted = parse_post_body(vector["post_body_serialized"])
    assert posted.version == version
    assert (posted.order.maker_amount, posted.order.taker_amount) == (vector["makerAmount"], vector["takerAmount"])
    assert order_id(posted.order, chain_id, neg_risk, version) == vector["order_hash"]
    assert sign_order(posted.order, SIGNER, chain_id, neg_risk, version) == vector["signature"]
    assert not posted.post_only
    assert not posted.defer_exec


def test_every_order_the_real_clients_posted_is_read_and_verified() -> None:
    seen = 0
    for request in CAPTURE["http"]:
        if request["method"] != "POST" or request["target"] not in ("/order", "/orders"):
            continue
        entries: list[Any] = parse_post_batch(request["body"]) if request["target"] == "/orders" else [request["body"]]
        for entry in entries:
            posted = parse_post_body(entry)
            recovered = {
                recover_order_signer(posted.order, posted.signature, CHAIN_ID_POLYGON, neg_risk, posted.version)
                for neg_risk in (False, True)
            }
            assert README["address"] in recovered
            seen += 1
    assert seen >= 6


words = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
uint256 = st.integers(0, 2**256 - 1)
bytes32 = st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())
v2_orders = st.builds(
    OrderV2,
    salt=st.integers(0, SALT_MAX),
    maker=words,
    signer=words,
    token_id=uint256,
    maker_amount=uint256,
    taker_amount=uint256,
    side=st.integers(0, 1),
    signature_type=st.integers(0, 2),
    timestamp=st.integers(0, 2**63),
    metadata=bytes32,
    builder=bytes32,
)
v1_orders = st.builds(
    OrderV1,
    salt=st.integers(0, SALT_MAX),
    maker=words,
    signer=words,
    token_id=uint256,
    maker_amount=uint256,
    taker_amount=uint256,
    side=st.integers(0, 1),
    signature_type=st.integers(0, 2),
    taker=words,
    expiration=uint256,
    nonce=uint256,
    fee_rate_bps=uint256,
)
_CAMEL = {
    "token_id": "tokenId",
    "maker_amount": "makerAmount",
    "taker_amount": "takerAmount",
    "signature_type": "signatureType",
    "fee_rate_bps": "feeRateBps",
}


def eth_digest(order: OrderV1 | OrderV2, version: int, neg_risk: bool) -> bytes:
    """The digest as eth_account computes it from plain typed data."""
    text = contracts.ORDER_V1_TYPE if isinstance(order, OrderV1) else contracts.ORDER_V2_TYPE
    members = [member.split(" ") for member in text.removeprefix("Order(").removesuffix(")").split(",")]
    values = {_CAMEL.get(name, name): getattr(order, name) for name in type(order).__struct_fields__}
    for name in ("metadata", "builder"):
        if name in values:
            values[name] = bytes.fromhex(values[name][2:])
    signable = encode_typed_data(
        {"name": contracts.EXCHANGE_NAME, "version": str(version), "chainId": CHAIN_ID_POLYGON,
         "verifyingContract": exchange_address(version, CHAIN_ID_POLYGON, neg_risk)},
        {"Order": [{"name": name, "type": kind} for kind, name in members]},
        values,
    )  # fmt: skip
    return keccak(b"\x19\x01" + signable.header + signable.body)


@settings(max_examples=40, deadline=None)
@given(st.one_of(v2_orders, v1_orders), st.booleans(), st.booleans())
def test_digests_equal_eth_account(order: OrderV1 | OrderV2, neg_risk: bool, positions: bool) -> None:
    version = 1 if isinstance(order, OrderV1) else 3 if positions else 2
    domain = domain_separator(version, CHAIN_ID_POLYGON, neg_risk)
    assert order_digest(order, domain) == eth_digest(order, version, neg_risk)


@settings(max_examples=40)
@given(st.one_of(v2_orders, v1_orders), st.sampled_from(TimeInForce), st.booleans())
def test_what_is_posted_is_read_back(order: OrderV1 | OrderV2, order_type: TimeInForce, post_only: bool) -> None:
    body = post_body(order, "0x" + "ab" * 65, "owner", order_type, post_only, expiration="17")
    posted = parse_post_body(body)
    assert posted.order_type is order_type
    assert posted.post_only is post_only
    domain = domain_separator(2, CHAIN_ID_POLYGON, False)
    assert order_digest(posted.order, domain) == order_digest(order, domain)
    assert posted.expiration == (order.expiration if isinstance(order, OrderV1) else 17)


def test_the_key_order_of_a_body_does_not_matter() -> None:
    body = json.loads(SIGNED[-1]["post_body_serialized"])
    body["order"] = dict(reversed(body["order"].items()))
    assert parse_post_body(dict(reversed(body.items()))).order == order_of(SIGNED[-1])


def good_body() -> dict[str, Any]:
    vector = next(v for v in VECTORS["orders_v2"] if v["name"] == "v2-buy-0.01")
    body: dict[str, Any] = json.loads(vector["post_body_serialized"])
    return body


BAD_MEMBERS: dict[str, list[object]] = {
    "salt": ["1", -1, SALT_MAX + 1, 1.5, True, None],
    "maker": ["0x12", 5, None, "0x" + "g" * 40],
    "signer": ["", None],
    "tokenId": [456, "-1", "0x1", "", "1.0", str(2**256), "1 ", "٣"],
    "makerAmount": [10, "1e6", None],
    "takerAmount": [10, " 1"],
    "side": ["buy", 0, None],
    "expiration": [0, "soon"],
    "signatureType": ["0", 4, -1, False],
    "timestamp": [1790000000123, ""],
    "metadata": ["0x", "0x" + "0" * 63, 0],
    "builder": [None, "0x" + "z" * 64],
    "signature": [None, "", "0x", "0xabc", "0x" + "ab" * 5000],
}


@pytest.mark.parametrize(("name", "value"), [(name, bad) for name, values in BAD_MEMBERS.items() for bad in values])
def test_a_wrong_member_is_refused_by_its_name(name: str, value: object) -> None:
    body = good_body()
    body["order"][name] = value
    with pytest.raises(Refusal) as refusal:
        parse_post_body(json.dumps(body))
    assert (refusal.value.code, refusal.value.message) == (Reason.BAD_REQUEST, "Invalid order payload")
    assert refusal.value.field == name


@pytest.mark.parametrize(
    ("name", "value"),
    [("owner", ""), ("owner", 5), ("orderType", "IOC"), ("orderType", None), ("orderType", []), ("postOnly", 1),
     ("deferExec", "no"), ("order", None), ("order", [])],
)  # fmt: skip
def test_a_wrong_outer_member_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(Refusal) as refusal:
        parse_post_body({**good_body(), name: value})
    assert refusal.value.field == name


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff\xfe", b'{"order":{}}'])
def test_what_is_no_order_is_refused(raw: bytes) -> None:
    with pytest.raises(Refusal) as refusal:
        parse_post_body(raw)
    assert refusal.value.code is Reason.BAD_REQUEST


def test_a_batch_has_one_to_fifteen_entries() -> None:
    entry = good_body()
    assert len(parse_post_batch(json.dumps([entry] * 15))) == 15
    with pytest.raises(Refusal, match="Too many orders in payload: 16, max allowed: 15"):
        parse_post_batch(json.dumps([entry] * 16))
    for raw in ("[]", "{}", "nonsense"):
        with pytest.raises(Refusal):
            parse_post_batch(raw)


def test_a_posted_batch_is_an_array_of_single_bodies() -> None:
    vectors = VECTORS["orders_v2"][:3]
    entries = [
        post_entry(order_of(v), v["signature"], "11111111-2222-3333-4444-555555555555", "GTC", False) for v in vectors
    ]
    expected = "[" + ",".join(v["post_body_serialized"] for v in vectors) + "]"
    assert post_batch_body(entries).decode() == expected
    for wrong in ([], entries * 6):
        with pytest.raises(Refusal):
            post_batch_body(wrong)


@pytest.mark.parametrize("salt", [-1, SALT_MAX + 1])
def test_a_salt_beyond_a_json_number_cannot_be_posted(salt: int) -> None:
    order = OrderV2(salt, SIGNER.address, SIGNER.address, int(TOKEN), 1, 1, 0)
    with pytest.raises(Refusal) as refusal:
        post_body(order, "0x", "owner", "GTC", False)
    assert refusal.value.field == "salt"


def test_a_deposit_wallet_signature_is_bound_to_its_order_and_exchange() -> None:
    vector = next(v for v in VECTORS["orders_v2"] if v["inputs"]["signature_type"] == 3)
    order = order_of(vector)
    assert isinstance(order, OrderV2)
    other = OrderV2(**{**{name: getattr(order, name) for name in order.__struct_fields__}, "salt": 7})
    with pytest.raises(Refusal):
        recover_order_signer(other, vector["signature"], 137, False, 2)
    with pytest.raises(Refusal):
        recover_order_signer(order, vector["signature"], 137, True, 2)


@settings(max_examples=10, deadline=None)
@given(salt=st.integers(1, SALT_MAX), neg_risk=st.booleans(), kind=st.sampled_from([0, 1, 2, 3]))
def test_v2_orders_equal_the_official_client(salt: int, neg_risk: bool, kind: int) -> None:
    from py_clob_client_v2.order_utils import ExchangeOrderBuilderV2, SignatureTypeV2
    from py_clob_client_v2.order_utils import Side as TheirSide
    from py_clob_client_v2.order_utils.model.order_data_v2 import OrderDataV2
    from py_clob_client_v2.signer import Signer as TheirSigner

    funder = README["funder_used_for_signature_types_1_2_3"]
    maker = SIGNER.address if kind == 0 else funder
    signer = funder if kind == 3 else SIGNER.address
    address = exchange_address(2, CHAIN_ID_POLYGON, neg_risk)
    builder = ExchangeOrderBuilderV2(address, 137, TheirSigner(README["private_key"], 137), lambda: salt)
    theirs = builder.build_signed_order(
        OrderDataV2(maker=maker, signer=signer, tokenId=TOKEN, makerAmount="5200000", takerAmount="10000000",
                    side=TheirSide.BUY, signatureType=SignatureTypeV2(kind), timestamp="1790000000123")
    )  # fmt: skip
    ours = OrderV2(salt, maker, signer, int(TOKEN), 5_200_000, 10_000_000, 0, kind, 1_790_000_000_123)
    assert sign_order(ours, SIGNER, CHAIN_ID_POLYGON, neg_risk, 2) == theirs.signature
