"""What can be traded: one binary market with its two outcome tokens, as every process sees it.

A market is data; it is published by whoever discovered it and journaled by whoever decides with it.
"""

from __future__ import annotations

import msgspec

from common.errors import Refusal
from common.reasons import Reason


class Market(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One binary market. Index 0 and 1 of `outcomes` and `token_ids` belong together (protocol section 8.1).

    `tick` and `min_size` in micros; `fee_rate` in micros of the taker fee curve with integer `fee_exponent`
    (protocol section 6, item 10); `start_ns` and `end_ns` are the recorded or announced life of the market.
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
    """The highest price of a spot instrument in micros; 0 for a binary market, whose prices end at 1 - tick."""
    size_step: int = 10_000
    """Sizes are multiples of this, in micros."""
    min_notional: int = 0
    """What an order must be worth at least, in micros; 0 where only takers are asked (protocol section 6)."""

    def outcome_index(self, outcome: str) -> int:
        """Index of an outcome given by word (any case), by index "0"/"1", or by token id.

        Raises Refusal(UNKNOWN_OUTCOME, field="outcome") naming the words that exist.
        """
        if outcome in self.outcomes:
            return self.outcomes.index(outcome)
        wanted = outcome.strip().lower()
        for index in (0, 1):
            if wanted in (self.outcomes[index].lower(), str(index), self.token_ids[index]):
                return index
        words = " or ".join(self.outcomes)
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
    """Refuse a market nobody could trade: equal tokens, a tick that does not divide 1, a negative minimum."""
    if market.token_ids[0] == market.token_ids[1]:
        raise Refusal(Reason.BAD_REQUEST, "both outcomes have one token id", "token_ids")
    if market.tick <= 0 or 1_000_000 % market.tick:
        raise Refusal(Reason.BAD_TICK, f"a tick of {market.tick} micros does not divide 1", "tick")
    if market.min_size < 0 or market.fee_rate < 0 or market.fee_exponent < 0:
        raise Refusal(Reason.BAD_REQUEST, "minimum size and fee cannot be negative", "min_size")
