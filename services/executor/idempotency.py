"""What makes a repeat harmless: client order ids and the answers to commands. Pure.

In: ids. Out: "known" with what it led to, or room for a new one. Nothing is evicted early: client ids live 24 h and
full means IDEMPOTENCY_FULL; answers live 10 minutes and full means OVERLOADED for places (an answer to a cancel or a
refusal may be dropped instead: doing those again does no harm).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import TypeAlias

import msgspec

from common.messages import Accepted, CancelAccepted, PlaceOrder, Refused, ReplaceOrder

DAY_NS = 24 * 3600 * 1_000_000_000
ANSWER_LIFE_NS = 600 * 1_000_000_000
ANSWERS_MAX = 200_000
DROPPED_AT_ONCE = 100
"""Rows that one command clears out: after an idle day it must not stop for all of them."""
_FINGERPRINT_BYTES = 16


class ClientId(msgspec.Struct, array_like=True, gc=False):
    """What one client order id stands for. `venue_order_id` recognises news about an order that is not kept."""

    number: int
    fingerprint: bytes
    since_mono: int
    venue_order_id: str


class ClientIds:
    """Order numbers by (account, client order id), oldest first."""

    def __init__(self, limit: int, rows: list[tuple[str, str, ClientId]] | None = None) -> None:
        self.limit = limit
        self._rows: OrderedDict[tuple[str, str], ClientId] = OrderedDict()
        self._by_venue_id: dict[str, int] = {}
        self._oldest_mono = 0
        """Not newer than the oldest row: until its day is over nothing has to be looked for."""
        for account, client_order_id, row in rows or ():
            self.take(account, client_order_id, row)

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, account: str, client_order_id: str) -> ClientId | None:
        return self._rows.get((account, client_order_id))

    def named(self, account: str, client_order_id: str, venue_order_id: str) -> None:
        """An order was signed after its id was taken."""
        row = self._rows.get((account, client_order_id))
        if row is not None:
            row.venue_order_id = venue_order_id
            self._by_venue_id[venue_order_id.lower()] = row.number

    def number_of(self, venue_order_id: str) -> int | None:
        return self._by_venue_id.get(venue_order_id.lower())

    def full(self, now_mono: int, is_open: Callable[[int], bool]) -> bool:
        """Whether no new id can be taken. Ids past their day go first; that of an open order starts a new day."""
        if now_mono - self._oldest_mono < DAY_NS:
            return len(self._rows) >= self.limit
        for _ in range(DROPPED_AT_ONCE):
            if not self._rows:
                break
            key, row = next(iter(self._rows.items()))
            self._oldest_mono = row.since_mono
            if now_mono - row.since_mono < DAY_NS:
                break
            self.drop(*key)
            if is_open(row.number):
                row.since_mono = now_mono
                self.take(*key, row)
        return len(self._rows) >= self.limit

    def take(self, account: str, client_order_id: str, row: ClientId) -> None:
        if not self._rows:
            self._oldest_mono = row.since_mono
        self._rows[account, client_order_id] = row
        if row.venue_order_id:
            self._by_venue_id[row.venue_order_id.lower()] = row.number

    def drop(self, account: str, client_order_id: str) -> None:
        row = self._rows.pop((account, client_order_id))
        self._by_venue_id.pop(row.venue_order_id.lower(), None)

    def rows(self) -> list[tuple[str, str, ClientId]]:
        return [(account, client_order_id, row) for (account, client_order_id), row in self._rows.items()]


def fingerprint(command: PlaceOrder, venue: str, condition_id: str, token_id: str) -> bytes:
    """Equal for places that ask for the same: the market however it is spelled, ids and deadline left out."""
    content = (
        venue,
        condition_id,
        token_id,
        command.side,
        command.order_type,
        command.tif,
        command.post_only,
        command.price,
        command.size,
        command.expire_ns,
    )
    if command.quote or command.max_slippage_bps:
        content = (*content, command.quote, command.max_slippage_bps)  # type: ignore[assignment]
    return blake2b(_encode(content), digest_size=_FINGERPRINT_BYTES).digest()


def replace_fingerprint(command: ReplaceOrder, number: int) -> bytes:
    """The same for a replace of order `number`, however that was named."""
    content = ("replace", number, command.price, command.size)
    return blake2b(_encode(content), digest_size=_FINGERPRINT_BYTES).digest()


_encode = msgspec.msgpack.Encoder().encode

Kept: TypeAlias = Refused | CancelAccepted | Accepted


class Answer(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """`number` for an accepted place (its answer shows the order as it is now), else the message itself."""

    at_mono: int
    number: int = 0
    refused: Refused | None = None
    canceled: CancelAccepted | None = None
    accepted: Accepted | None = None

    @property
    def message(self) -> Kept | None:
        """The answer itself; None for a place."""
        return self.refused or self.canceled or self.accepted


class Answers:
    """Answers by (sender, command id), oldest first."""

    def __init__(self, rows: list[tuple[str, str, Answer]] | None = None, limit: int = ANSWERS_MAX) -> None:
        self._limit = limit
        self._places: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self._others: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self._oldest_mono = next((answer.at_mono for _, _, answer in rows or () if answer.number), 0)
        """Not newer than the oldest place."""
        for sender, command_id, answer in rows or ():
            (self._places if answer.number else self._others)[sender, command_id] = answer

    def __len__(self) -> int:
        return len(self._places) + len(self._others)

    def find(self, sender: str, command_id: str) -> Answer | None:
        key = (sender, command_id)
        return self._places.get(key) or self._others.get(key)

    def full(self, now_mono: int) -> bool:
        """Whether the answer to one more accepted place cannot be kept; drops what is old enough first."""
        if now_mono - self._oldest_mono > ANSWER_LIFE_NS:
            _drop_old(self._places, now_mono)
            self._oldest_mono = next(iter(self._places.values())).at_mono if self._places else now_mono
        return len(self._places) >= self._limit

    def keep_place(self, sender: str, command_id: str, number: int, now_mono: int) -> None:
        self._places[sender, command_id] = Answer(now_mono, number)

    def keep(self, sender: str, command_id: str, answer: Kept, now_mono: int) -> None:
        _drop_old(self._others, now_mono)
        if len(self._others) >= self._limit:
            self._others.popitem(last=False)
        self._others[sender, command_id] = Answer(
            now_mono,
            0,
            answer if isinstance(answer, Refused) else None,
            answer if isinstance(answer, CancelAccepted) else None,
            answer if isinstance(answer, Accepted) else None,
        )

    def rows(self) -> list[tuple[str, str, Answer]]:
        return [(*key, answer) for kept in (self._places, self._others) for key, answer in kept.items()]


def _drop_old(kept: OrderedDict[tuple[str, str], Answer], now_mono: int) -> None:
    for _ in range(DROPPED_AT_ONCE):
        if not kept or now_mono - next(iter(kept.values())).at_mono <= ANSWER_LIFE_NS:
            return
        kept.popitem(last=False)
