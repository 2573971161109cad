"""The instruments the executor may trade, by every name they are known under. Pure.

In: markets as market_data lists them, again on every change. Out: the market a command means. A market stays known
after it stopped accepting, because its orders and fills still need it. One that could not be signed for is not taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from common.errors import Refusal
from common.instruments import BINARY, SPOT, Market, check_market
from common.venues.capabilities import VenueKind, kind_of
from services.executor.terms import is_signed

MARKETS_MAX = 100_000
"""More are not taken (counted); years of 15-minute markets."""
WORD_MAX = 128
_TOKEN_ID = re.compile(r"[0-9]{1,78}", re.ASCII)


class Markets:
    def __init__(self, markets: Iterable[Market] = ()) -> None:
        self._by_id: dict[tuple[str, str], Market] = {}
        self._by_word: dict[tuple[str, str], str] = {}
        self._by_token: dict[tuple[str, str], str] = {}
        self.version = 0
        """Grows with every market taken."""
        for market in markets:
            self.take(market)

    def __len__(self) -> int:
        return len(self._by_id)

    def take(self, market: Market) -> bool:
        """Take a market as it is now. False when it cannot be traded or there is no room for a new one."""
        try:
            check_market(market)
        except Refusal:
            return False
        if not _named_right(market):
            return False
        key = (market.venue, market.condition_id)
        if key not in self._by_id and len(self._by_id) >= MARKETS_MAX:
            return False
        known = self._by_id.pop(key, None)
        self._by_id[key] = market  # at the end: of two markets with one slug or token the one taken last is meant
        self.version += 1
        if known is None or (known.slug, known.token_ids) == (market.slug, market.token_ids):
            self._index(market)
        else:
            self._by_word, self._by_token = {}, {}
            for row in self._by_id.values():
                self._index(row)
        return True

    def _index(self, market: Market) -> None:
        self._by_word[market.venue, market.slug] = market.condition_id
        for token_id in market.token_ids:
            self._by_token[market.venue, token_id] = market.condition_id

    def find(self, venue: str, word: str) -> Market | None:
        """By condition id or slug; of two markets with one slug the newest."""
        key = (venue, word)
        return self._by_id.get(key) or self._by_id.get((venue, self._by_word.get(key, "")))

    def of_token(self, venue: str, token_id: str) -> Market | None:
        return self._by_id.get((venue, self._by_token.get((venue, token_id), "")))

    def condition_ids(self, word: str) -> set[str]:
        """The condition ids a market word means on any venue; a condition id means itself."""
        found = {market.condition_id for (_, condition_id), market in self._by_id.items() if word == condition_id}
        return found or {condition_id for (_, slug), condition_id in self._by_word.items() if word == slug}

    def all(self) -> list[Market]:
        return list(self._by_id.values())


def _named_right(market: Market) -> bool:
    """Whether its ids can be of its venue: uint256 where they are signed, elsewhere words behind the venue's name."""
    if is_signed(market.venue):
        signable = all(_TOKEN_ID.fullmatch(token_id) and int(token_id) < 1 << 256 for token_id in market.token_ids)
        return market.kind == BINARY and signable
    if kind_of(market.venue) is VenueKind.CCXT and market.kind != SPOT:
        return False
    return all(_is_word_of(market.venue, word) for word in (market.condition_id, *market.token_ids))


def _is_word_of(venue: str, word: str) -> bool:
    prefix = f"{venue}:"
    return len(prefix) < len(word) <= WORD_MAX and word.startswith(prefix) and word.isascii() and word.isprintable()
