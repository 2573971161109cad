"""A pinned order of a venue that takes plain fields instead of signed structs (our exchange, ccxt venues). Pure.

In: everything the gateway sends, fixed by the executor before anything leaves. Out: msgpack bytes for `Place.pinned`,
and back. `venue_order_id` is the id we choose: the venue files the order under it, so it is known before sending.
"""

from __future__ import annotations

import re

import msgspec

from common.errors import Refusal
from common.reasons import Reason
from common.types import OrderType, Side, TimeInForce


class PlainOrder(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Price and size in micros; `token_id` as on our bus, with the venue's prefix. `expire_ns` 0 never ends."""

    venue_order_id: str
    token_id: str
    side: Side
    order_type: OrderType
    tif: TimeInForce
    post_only: bool
    price: int
    size: int
    expire_ns: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PlainOrder)


def encode_plain(order: PlainOrder) -> bytes:
    return _encoder.encode(order)


def decode_plain(raw: bytes) -> PlainOrder:
    """The pinned order in a Place. Raises Refusal(BAD_REQUEST, field="pinned") for anything else."""
    try:
        return _decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise Refusal(Reason.BAD_REQUEST, f"the pinned order cannot be read: {error}", "pinned") from error


def local_id(token_id: str) -> str:
    """The venue's own word for an instrument: our token and condition ids of such venues are `<venue>:<word>`."""
    return token_id.partition(":")[2]


TAIL_MAX = 18
"""Letters for the instrument in an order id: with 18 of ours it stays within Binance's 36."""
_ODD = re.compile(r"[^A-Za-z0-9]+", re.ASCII)


def id_tail(token_id: str) -> str:
    """How our order ids end for this instrument: `-btc-usdt` for `ccxt:BTC/USDT`; "" for a word that is too long.

    Some venues want the instrument named beside the order id; `Cancel` and `QueryOrder` carry the id alone, and the
    gateway remembers nothing. An adapter compares the tails of its instruments with the end of the id.
    """
    word = _ODD.sub("-", local_id(token_id)).strip("-").lower()
    return f"-{word}" if word and len(word) < TAIL_MAX else ""
