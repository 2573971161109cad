"""Which engine a condition or token belongs to. In: markets. Out: engines; refuses what cannot be told apart."""

from __future__ import annotations

from common.errors import Refusal
from common.instruments import Market, check_market
from common.reasons import Reason
from services.exchange.whistle import Whistle

MARKETS_MAX = 10_000


class Router:
    """Engines by condition id in the order they were opened, and (engine, outcome) by token id."""

    def __init__(self) -> None:
        self.by_condition: dict[str, Whistle] = {}
        self._by_token: dict[str, tuple[Whistle, int]] = {}

    def open(self, market: Market) -> Whistle | None:
        """A new engine; None when the market is open already. Raises Refusal for a market that cannot be."""
        known = self.by_condition.get(market.condition_id)
        if known is not None:
            if (known.market.token_ids, known.market.outcomes) != (market.token_ids, market.outcomes):
                raise Refusal(Reason.BAD_REQUEST, "this condition is open with other outcomes", "condition_id")
            return None
        check_market(market)
        if any(token in self._by_token or not token for token in market.token_ids):
            raise Refusal(Reason.BAD_REQUEST, "a token id is empty or belongs to another market", "token_ids")
        if len(self.by_condition) >= MARKETS_MAX:
            raise Refusal(Reason.OVERLOADED, f"{MARKETS_MAX} markets are open", "market")
        return self.add(Whistle(market))

    def add(self, whistle: Whistle) -> Whistle:
        self.by_condition[whistle.market.condition_id] = whistle
        for index, token in enumerate(whistle.market.token_ids):
            self._by_token[token] = (whistle, index)
        return whistle

    def condition(self, condition_id: str) -> Whistle:
        whistle = self.by_condition.get(condition_id)
        if whistle is None:
            raise Refusal(Reason.UNKNOWN_MARKET, "market not found", "condition_id")
        return whistle

    def token(self, token_id: str, field: str = "token_id") -> tuple[Whistle, int]:
        found = self._by_token.get(token_id)
        if found is None:
            raise Refusal(Reason.UNKNOWN_MARKET, "Invalid token id", field)
        return found
