"""What can be traded: a binary market with its two outcome tokens, or one spot instrument, as every process sees it.

A market is data; it is published by whoever discovered it and journaled by whoever decides with it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.errors import Refusal
from common.reasons import Reason
from common.types import ONE

BINARY: Final = "binary"
SPOT: Final = "spot"
PRICE_MAX: Final = 10**16
"""Ten billion of a quote currency for one unit: sums of such prices stay inside 64 bits."""


class Market(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One market. The same index of `outcomes` and `token_ids` belongs together (protocol section 8.1).

    `tick` and `min_size` in micros; `fee_rate` in micros of the taker fee curve with integer `fee_exponent`
    (protocol section 6, item 10), of a spot instrument in micros of the taker's part of the money that changes hands
    (1000 is 0.1 %); `start_ns` and `end_ns` are the recorded or announced life of the market.
    """

    venue: str
    condition_id: str
    slug: str
    question: str
    outcomes: tuple[str, ...]
    token_ids: tuple[str, ...]
    tick: int
    min_size: int
    neg_risk: bool = False
    fee_rate: int = 0
    fee_exponent: int = 1
    accepting: bool = True
    start_ns: int = 0
    end_ns: int = 0
    category: str = ""
    description: str = ""
    event_id: str = ""
    """The event (for neg-risk: the group) this market belongs to; "" when unknown."""
    kind: str = "binary"
    """`binary`: two outcomes whose prices add up to 1. `spot`: one instrument (one token id), any price."""
    price_max: int = 0
    """The highest price of a spot instrument in micros, 0 where the venue names none; 0 for a binary market, whose
    prices end at 1 - tick."""
    size_step: int = 10_000
    """Sizes are multiples of this, in micros."""
    min_notional: int = 0
    """What an order must be worth at least, in micros; 0 where only takers are asked (protocol section 6)."""

    @property
    def is_spot(self) -> bool:
        return self.kind == SPOT

    @property
    def highest_price(self) -> int:
        """The highest price on the grid."""
        if self.kind != SPOT:
            return ONE - self.tick
        most = min(self.price_max or PRICE_MAX, PRICE_MAX)
        return most - most % self.tick

    def outcome_index(self, outcome: str) -> int:
        """Index of an outcome given by word (any case), by index "0"/"1", or by token id; a spot instrument has only
        one, which need not be named.

        Raises Refusal(UNKNOWN_OUTCOME, field="outcome") naming the words that exist.
        """
        if outcome in self.outcomes:
            return self.outcomes.index(outcome)
        wanted = outcome.strip().lower()
        for index, word in enumerate(self.outcomes):
            if wanted in (word.lower(), str(index), self.token_ids[index].lower()):
                return index
        words = " or ".join(self.outcomes)
        if not wanted:
            if len(self.outcomes) == 1:
                return 0
            raise Refusal(Reason.UNKNOWN_OUTCOME, f"name an outcome of {self.slug}: {words}", "outcome")
        raise Refusal(Reason.UNKNOWN_OUTCOME, f"{outcome[:40]!r} is not an outcome of {self.slug}: {words}", "outcome")

    def token_of(self, outcome: str) -> str:
        """The token id of an outcome as `outcome_index` takes it; "" when there is no such outcome."""
        try:
            return self.token_ids[self.outcome_index(outcome)]
        except Refusal:
            return ""

    def index_of_token(self, token_id: str) -> int:
        return self.token_ids.index(token_id)


def check_market(market: Market) -> None:
    """Refuse a market nobody could trade: equal tokens, a grid that cannot be, a negative minimum."""
    if market.kind == SPOT:
        _check_spot(market)
    elif market.kind != BINARY or len(market.outcomes) != 2 or len(market.token_ids) != 2:
        text = f"{market.kind[:20]!r} is not a kind of market with {len(market.token_ids)} token ids"
        raise Refusal(Reason.BAD_REQUEST, text, "kind")
    elif market.token_ids[0] == market.token_ids[1]:
        raise Refusal(Reason.BAD_REQUEST, "both outcomes have one token id", "token_ids")
    elif market.tick <= 0 or ONE % market.tick:
        raise Refusal(Reason.BAD_TICK, f"a tick of {market.tick} micros does not divide 1", "tick")
    if market.size_step <= 0:
        raise Refusal(Reason.BAD_TICK, "sizes finer than 0.000001 cannot be expressed", "size_step")
    if min(market.min_size, market.min_notional, market.fee_rate, market.fee_exponent) < 0:
        raise Refusal(Reason.BAD_REQUEST, "minimum size and fee cannot be negative", "min_size")


def _check_spot(market: Market) -> None:
    """One token; any tick of whole micros; a highest price that 64 bits and the grid can hold."""
    if len(market.outcomes) != 1 or len(market.token_ids) != 1:
        raise Refusal(Reason.BAD_REQUEST, "a spot instrument has one outcome and one token id", "token_ids")
    if market.tick <= 0:
        raise Refusal(Reason.BAD_TICK, "prices finer than 0.000001 cannot be expressed", "tick")
    if market.price_max < 0 or market.price_max > PRICE_MAX or not market.highest_price:
        text = f"a highest price of {market.price_max} micros is not between the tick and {PRICE_MAX}"
        raise Refusal(Reason.BAD_PRICE, text, "price_max")
    if market.fee_rate > ONE:
        raise Refusal(Reason.BAD_REQUEST, "a fee cannot be more than the money that changes hands", "fee_rate")
