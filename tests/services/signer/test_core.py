"""The signer signs the pinned orders of its wallets for the gateway, within their limit, and nothing else."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from common.errors import Refusal
from common.messages import CancelAll, GetSigner, Message, SignedOrder, SignerReady, SignOrder
from common.reasons import Reason
from common.types import ONE
from common.venues.polymarket.orders import recover_order_signer
from common.venues.polymarket.pinned import PinnedOrder, encode_pinned, wallet_identity
from common.venues.polymarket.signing import Signer
from services.signer.core import SigningDesk, SigningWallet
from tests.services.gateway.orders import ADDRESS, KEY, pinned_order

FUNDER = "0xaBcDeF0123456789aBCdef0123456789abcDEF01"
PROXY = "0x" + "cd" * 20
TYPES = {"main": 0, "proxy": 1, "safe": 2, "deposit": 3}


def desk(limit: int = 0) -> SigningDesk:
    """One key under each signature type."""
    return SigningDesk(
        [
            SigningWallet(wallet_identity(name, ADDRESS, PROXY if kind else "", kind, 137), Signer(KEY), limit)
            for name, kind in TYPES.items()
        ],
        Counter(),
    )


def ask(order: PinnedOrder, wallet: str = "main", order_id: str = "") -> SignOrder:
    return SignOrder("r1", wallet, encode_pinned(order), order_id or order.venue_order_id)


def order_for(wallet: str, salt: int = 1) -> PinnedOrder:
    identity = wallet_identity(wallet, ADDRESS, PROXY if TYPES[wallet] else "", TYPES[wallet], 137)
    return pinned_order(
        salt, maker=identity.maker, signer=identity.order_signer, signature_type=identity.signature_type
    )


def refusal_of(made: SigningDesk, message: Message, sender: str = "gateway", now_ns: int = 0) -> Refusal:
    with pytest.raises(Refusal) as caught:
        made.answer(message, sender, now_ns)
    return caught.value


@pytest.mark.parametrize("wallet", TYPES)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_order_of_every_version_and_signature_type_is_signed_by_its_key(wallet: str, version: int) -> None:
    order = msgspec.structs.replace(order_for(wallet), version=version)
    if version == 1 and wallet == "deposit":
        assert refusal_of(desk(), ask(order, wallet)).code is Reason.BAD_REQUEST
        return
    answer = desk().answer(ask(order, wallet), "gateway", 0)
    assert isinstance(answer, SignedOrder)
    assert answer.request_id == "r1"
    assert recover_order_signer(order.order, "0x" + answer.signature.hex(), 137, False, version) == ADDRESS


def test_it_says_whose_key_it_has() -> None:
    assert desk().answer(GetSigner("r", "deposit"), "gateway", 0) == SignerReady("r", "deposit", ADDRESS)


@pytest.mark.parametrize("sender", ["executor", "cli-1", "", "gateway2", "signer"])
def test_only_the_gateway_is_answered(sender: str) -> None:
    for message in (GetSigner("r", "main"), ask(order_for("main"))):
        assert refusal_of(desk(), message, sender).field == "sender"


def test_a_wallet_without_a_key_is_not_ready() -> None:
    for message in (GetSigner("r", "other"), ask(order_for("main"), "other")):
        refusal = refusal_of(desk(), message)
        assert (refusal.code, refusal.field) == (Reason.WALLET_NOT_READY, "wallet")


def test_another_message_is_not_understood() -> None:
    assert refusal_of(desk(), CancelAll("c")).code is Reason.UNKNOWN_MESSAGE


def test_the_digest_is_recomputed() -> None:
    refusal = refusal_of(desk(), ask(order_for("main"), order_id="0x" + "11" * 32))
    assert (refusal.code, refusal.field) == (Reason.DIGEST_MISMATCH, "venue_order_id")


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x19\x01" + bytes(64), bytes(32)])
def test_what_is_no_pinned_order_is_not_signed(raw: bytes) -> None:
    refusal = refusal_of(desk(), SignOrder("r", "main", raw, "0x" + "11" * 32))
    assert (refusal.code, refusal.field) == (Reason.BAD_REQUEST, "pinned")


def test_an_order_of_another_wallet_is_not_signed() -> None:
    for order in (pinned_order(maker=FUNDER), pinned_order(signer=FUNDER), pinned_order(chain_id=80_002)):
        assert refusal_of(desk(), ask(order)).code is Reason.BAD_REQUEST
    assert refusal_of(desk(), ask(order_for("proxy"), "main")).code is Reason.BAD_REQUEST


def test_the_limit_counts_dollars_of_a_buy_and_a_dollar_for_each_share_of_a_sale() -> None:
    made = desk(limit=15 * ONE)
    made.answer(ask(pinned_order(1, maker_amount=5 * ONE, taker_amount=10 * ONE)), "gateway", 0)
    sale = pinned_order(2, side=1, maker_amount=11 * ONE, taker_amount=ONE)
    assert refusal_of(made, ask(sale)).code is Reason.SIGNING_LIMIT
    smaller = pinned_order(3, side=1, maker_amount=10 * ONE, taker_amount=ONE)
    made.answer(ask(smaller), "gateway", 0)
    assert refusal_of(made, ask(pinned_order(4, maker_amount=1, taker_amount=1))).code is Reason.SIGNING_LIMIT


def test_each_wallet_has_a_limit_of_its_own_and_a_resend_costs_nothing() -> None:
    made = desk(limit=6 * ONE)
    first = made.answer(ask(order_for("main")), "gateway", 0)
    assert made.answer(ask(order_for("main")), "gateway", 1) == first
    assert refusal_of(made, ask(order_for("main", salt=2))).code is Reason.SIGNING_LIMIT
    assert isinstance(made.answer(ask(order_for("proxy"), "proxy"), "gateway", 0), SignedOrder)


def test_a_refused_order_costs_nothing() -> None:
    made = desk(limit=6 * ONE)
    refusal_of(made, ask(order_for("main"), order_id="0x" + "11" * 32))
    refusal_of(made, ask(pinned_order(maker=FUNDER)))
    assert isinstance(made.answer(ask(order_for("main")), "gateway", 0), SignedOrder)


def test_after_the_end_nothing_is_signed() -> None:
    made = desk()
    made.close()
    assert refusal_of(made, ask(order_for("main"))).code is Reason.WALLET_NOT_READY


def test_nothing_that_is_shown_holds_the_key() -> None:
    wallet = SigningWallet(wallet_identity("main", ADDRESS, "", 0, 137), Signer(KEY), 0)
    assert repr(wallet) == f"SigningWallet(main, {ADDRESS})"
