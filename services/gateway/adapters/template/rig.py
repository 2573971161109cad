"""The template's rig: what the conformance kit needs beside the adapter. The shop runs in this process.

A rig of a real venue asks it for books over the wire and makes a wallet of its own there (conformance/rigs/).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from itertools import count

from common.fixed import mul_ceil
from common.messages import Place
from common.types import OrderType
from common.venues.plain import PlainOrder, encode_plain
from services.gateway.adapters.template.adapter import VENUE, Line, PaperclipAdapter, Wallet
from services.gateway.adapters.template.venue import ITEMS, MIN_SIZE, PRICE_MAX, TICK, Shop
from services.gateway.adapters.template.wire import GetBook, decode_reply, encode
from services.gateway.conformance.rig import Instrument, NoQuote, Quote, Tap, Wanted
from services.gateway.port import Adapter

WALLET = "check"
LIFE_NS = 60_000_000_000
DEADLINE_NS = 30_000_000_000


class PaperclipRig:
    def __init__(self) -> None:
        self.tap = Tap()
        self.wallet = WALLET
        self.note = "the template's own venue, in this process"
        self.exempt: Mapping[str, str] = {}
        self.gtd_life_ns = LIFE_NS
        self._key = secrets.token_hex(16)
        self._shop = Shop({self._key}, time.time_ns)
        self._adapter = PaperclipAdapter(Line(self._shop.answer), [Wallet(WALLET, self._key)], tap=self.tap)
        self._numbers = count(1)

    @property
    def adapter(self) -> Adapter:
        return self._adapter

    @property
    def secrets(self) -> Sequence[str]:
        return [self._key]

    async def open(self) -> None:
        await self._adapter.start()

    async def close(self) -> None:
        await self._adapter.close()

    async def reconnect(self) -> None:
        await self._adapter.reconnect()

    async def unreachable(self) -> Adapter:
        return PaperclipAdapter(Line(None), [Wallet(WALLET, self._key)])

    async def quote(self, budget: int = 0, without: str = "") -> Quote:
        for item in ITEMS:
            book = decode_reply(self._shop.answer(encode(GetBook(self._key, item))))
            price, size = book.asks[0]
            token = f"{VENUE}:{item}"
            if token != without and (not budget or mul_ceil(price, size) <= budget):
                thing = Instrument(item, token, token, TICK, TICK, PRICE_MAX, 10_000, MIN_SIZE)
                return Quote(thing, book.bids, book.asks)
        raise NoQuote("no offer of the shop is that small")

    def order(self, wanted: Wanted) -> Place:
        number = next(self._numbers)
        order = PlainOrder(
            f"check-{number}",
            wanted.token_id,
            wanted.side,
            OrderType.LIMIT,
            wanted.tif,
            wanted.post_only,
            wanted.price,
            wanted.size,
            wanted.expire_ns,
        )
        deadline_ns = time.time_ns() + DEADLINE_NS
        return Place(f"place-{number}", VENUE, WALLET, order.venue_order_id, deadline_ns, encode_plain(order))

    def unknown_token(self) -> str:
        return f"{VENUE}:stapler"
