"""Both kinds of signer give the same bytes; a signer that refuses or is away leads to a refusal, never to a guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import cast

import pytest

from common.edge import Edge
from common.errors import ConfigError, Refusal
from common.messages import Accepted, GetSigner, Message, Refused, SignedOrder, SignerReady, SignOrder
from common.reasons import Reason
from common.venues.polymarket.orders import POLY_1271, sign_order
from common.venues.polymarket.pinned import PinnedOrder, decode_pinned
from common.venues.polymarket.signing import Signer
from services.gateway.signers import InsideSigner, ProcessSigner, ask_address
from tests.services.gateway.orders import ADDRESS, KEY, pinned_order

ORDERS = [
    pinned_order(),
    pinned_order(version=1),
    pinned_order(version=3, token_id="12"),
    pinned_order(signature_type=POLY_1271),
]


class Bus:
    """An edge whose `request` is answered by a script; None does not answer."""

    def __init__(self, script: Callable[[Message], Message | None]) -> None:
        self.asked: list[tuple[str, Message]] = []
        self.counters: Counter[str] = Counter()
        self.states: list[tuple[str, str]] = []
        self._script = script

    async def request(self, owner: str, body: Message, *, timeout_s: float = 5.0) -> Message:
        self.asked.append((owner, body))
        answer = self._script(body)
        if answer is None:
            raise TimeoutError(f"{owner} did not answer within {timeout_s}")
        return answer

    def set_state(self, state: str, detail: str = "") -> None:
        self.states.append((state, detail))

    def as_edge(self) -> Edge:
        return cast(Edge, self)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"v{order.version}-type{order.signature_type}")
async def test_an_inside_signer_signs_at_once_as_the_order_is_signed(order: PinnedOrder) -> None:
    signer = InsideSigner(Signer(KEY))
    expected = sign_order(order.order, Signer(KEY), 137, False, order.version)
    for signature in (
        signer.sign_now(order),
        signer.sign_now(order, order.venue_order_id),
        await signer.sign(order, order.venue_order_id),
    ):
        assert signature is not None
        assert "0x" + signature.hex() == expected


def test_a_closed_inside_signer_refuses() -> None:
    signer = InsideSigner(Signer(KEY))
    signer.close()
    with pytest.raises(Refusal) as caught:
        signer.sign_now(ORDERS[0])
    assert caught.value.code is Reason.WALLET_NOT_READY


async def test_the_signer_process_is_asked_under_the_id_of_the_order() -> None:
    bus = Bus(lambda body: SignedOrder(cast(SignOrder, body).request_id, b"\x01\x02"))
    signer = ProcessSigner(bus.as_edge(), "main", ADDRESS)
    order = ORDERS[0]
    assert signer.sign_now(order) is None
    assert await signer.sign(order, order.venue_order_id) == b"\x01\x02"
    [(owner, ask)] = bus.asked
    assert owner == "signer"
    assert isinstance(ask, SignOrder)
    assert (ask.request_id, ask.wallet, ask.venue_order_id) == (order.venue_order_id, "main", order.venue_order_id)
    assert decode_pinned(ask.pinned) == order


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (Refused("r", Reason.SIGNING_LIMIT, "5 of 10 is left", "signer.notional_per_minute"), "SIGNING_LIMIT", "left"),
        (Refused("r", Reason.DIGEST_MISMATCH, "another digest"), "DIGEST_MISMATCH", "digest"),
        (Accepted("r"), "INTERNAL", "Accepted"),
        (None, "WALLET_NOT_READY", "nothing was sent"),
    ],
)
async def test_what_the_signer_refuses_is_a_refusal_with_its_code(answer: Message | None, code: str, says: str) -> None:
    signer = ProcessSigner(Bus(lambda _: answer).as_edge(), "main", ADDRESS)
    with pytest.raises(Refusal, match=says) as caught:
        await signer.sign(ORDERS[0], ORDERS[0].venue_order_id)
    assert caught.value.code.value == code


async def test_the_address_is_asked_for_until_there_is_a_signer() -> None:
    answers: list[Message | None] = [None, None, SignerReady("r", "main", ADDRESS)]
    bus = Bus(lambda _: answers.pop(0))
    assert await ask_address(bus.as_edge(), "main") == ADDRESS
    assert [type(body) for _, body in bus.asked] == [GetSigner] * 3
    assert bus.states == [("STARTING", "waiting for the signer process (wallet main)")] * 2


async def test_a_signer_without_this_wallet_is_a_settings_error() -> None:
    bus = Bus(lambda _: Refused("r", Reason.WALLET_NOT_READY, "holds no key of a wallet 'main'", "wallet"))
    with pytest.raises(ConfigError, match="wallet main") as caught:
        await ask_address(bus.as_edge(), "main")
    assert caught.value.key == "gateway.signer"


def test_no_signer_shows_a_key() -> None:
    for signer in (InsideSigner(Signer(KEY)), ProcessSigner(Bus(lambda _: None).as_edge(), "main", ADDRESS)):
        assert ADDRESS in repr(signer)
        assert KEY.hex() not in repr(signer)
