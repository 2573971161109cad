"""The books the executor looks at: conflated depth of the tokens it may trade, outside its journaled state. Pure.

In: the newest depth message per token, undecoded until somebody needs it. Out: with each place the bounded view of its
token (one side up to its limit, at most LEVELS_MAX levels, and one level beyond it), once a second the marks of what is
held. Market data never becomes an input of its own, and nothing here decides whether an order may be placed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from common.effects import Now
from common.messages import BookDepth, BookView, Judged, Level, Mark, Marked, Message, PlaceOrder, ReplaceOrder, decode
from common.types import FeedState, Side
from services.executor.commands import find_order
from services.executor.core import ExecutorCore
from services.executor.slippage import within

OWNER = "market_data"
PREFIX = "depth."
LEVELS_MAX = 20
SILENT_MS = 900
"""market_data says hello every 500 ms: silent this long, its books may be anything (common/latest.py)."""
MARK_NS = 1_000_000_000
ASKED_MAX = 1_000
MS = 1_000_000


class DepthSight:
    """Follows the tokens that orders named, those held, and as many of the listed markets as there is room for."""

    def __init__(self, core: ExecutorCore, tokens_max: int) -> None:
        self._core = core
        self._tokens_max = tokens_max
        self._newest: dict[str, msgspec.Raw | BookDepth | None] = {}
        self._asked: dict[str, None] = {}
        self._asks = 0
        self._follows: frozenset[tuple[str, str]] = frozenset()
        self._planned: tuple[int, int, int] = (-1, 0, 0)
        self._marks: dict[str, Mark] = {}
        self._marked: list[Mark] = []
        self._marked_day = -1
        self._mark_due = 0

    # --- following ---

    def follows(self) -> frozenset[tuple[str, str]]:
        desk = self._core.desk
        plan = (desk.markets.version, self._asks, len(desk.positions))
        if plan != self._planned:
            self._planned = plan
            tokens = dict.fromkeys([*self._asked, *desk.positions.tokens()])
            for market in desk.markets.all():
                if len(tokens) >= self._tokens_max:
                    break
                if market.accepting:
                    tokens.update(dict.fromkeys(market.token_ids))
            self._newest = {token: self._newest.get(token) for token in tokens}
            self._follows = frozenset((OWNER, PREFIX + token) for token in tokens)
        return self._follows

    def reads(self, topic: str) -> bool:
        return topic.startswith(PREFIX)

    def observe(self, topic: str, body: msgspec.Raw | None) -> None:
        token_id = topic[len(PREFIX) :]
        if token_id in self._newest:
            self._newest[token_id] = body

    # --- what places take along ---

    def attach(self, message: Message, now: Now, heard_ns: Callable[[str], int]) -> Message:
        if isinstance(message, PlaceOrder):
            token_id = self._token_of(message)
            side, limit = message.side, message.price
        elif isinstance(message, ReplaceOrder):
            order = find_order(self._core.desk, message.account, message.order_id)
            if order is None:
                return message
            token_id, side, limit = order.token_id, order.side, message.price
        else:
            return message
        if not token_id:
            return message
        if token_id not in self._newest:
            self._follow_asked(token_id)
        return Judged(message, self.view(token_id, side, limit, now, heard_ns(OWNER)))

    def _follow_asked(self, token_id: str) -> None:
        """Markets end: full means that the token asked for first is given up, not that new ones are."""
        if len(self._asked) >= ASKED_MAX:
            del self._asked[next(iter(self._asked))]
        self._asked[token_id] = None
        self._asks += 1

    def _token_of(self, command: PlaceOrder) -> str:
        """The token a place means; "" when it means none: the core says why."""
        desk = self._core.desk
        wallet = desk.wallet_of_account.get(command.account)
        market = desk.markets.find(wallet.venue, command.market) if wallet else None
        return market.token_of(command.outcome) if market else ""

    def view(self, token_id: str, side: Side, limit: int, now: Now, heard_mono: int) -> BookView | None:
        """The bounded view of one token; None when no depth came (yet)."""
        depth = self._depth(token_id)
        if depth is None:
            return None
        age_ms = max(0, now.mono_ns - heard_mono) // MS
        state, reason = depth.state, depth.reason
        if age_ms > SILENT_MS:
            state, reason = FeedState.STALE, f"market_data was last heard {age_ms} ms ago"
        if side is Side.BUY:
            bids, whole_bids = depth.bids[:1], depth.whole_bids and len(depth.bids) <= 1
            asks, whole_asks = _taken(side, depth.asks, depth.whole_asks, limit)
        else:
            asks, whole_asks = depth.asks[:1], depth.whole_asks and len(depth.asks) <= 1
            bids, whole_bids = _taken(side, depth.bids, depth.whole_bids, limit)
        epoch, seq = depth.epoch, depth.seq
        return BookView(token_id, bids, asks, whole_bids, whole_asks, depth.tick, state, reason, epoch, seq, age_ms)

    def _depth(self, token_id: str) -> BookDepth | None:
        newest = self._newest.get(token_id)
        if isinstance(newest, msgspec.Raw):
            newest = self._newest[token_id] = _book_in(newest)
        return newest

    # --- marks ---

    def beat(self, now: Now, heard_ns: Callable[[str], int]) -> Message | None:
        if now.mono_ns < self._mark_due:
            return None
        self._mark_due = now.mono_ns + MARK_NS
        held = self._core.desk.positions.tokens()
        if now.mono_ns - heard_ns(OWNER) > SILENT_MS * MS:
            return None
        for token_id in held:
            depth = self._depth(token_id)
            if depth is not None and depth.state is FeedState.LIVE:
                self._marks[token_id] = Mark(token_id, _best(depth.bids), _best(depth.asks))
        marks = [self._marks[token_id] for token_id in held if token_id in self._marks]
        day = now.wall_ns // (24 * 3600 * 1_000_000_000)
        if (marks, day) == (self._marked, self._marked_day):
            return None  # a new day is told also of nothing: it begins for who holds nothing as well
        self._marked, self._marked_day = marks, day
        return Marked(marks)


def _book_in(body: msgspec.Raw) -> BookDepth | None:
    """None for what cannot be read (another version of market_data): a place must not suffer for it."""
    try:
        message = decode(body)
    except msgspec.DecodeError:
        return None
    return message if isinstance(message, BookDepth) else None


def _best(levels: list[Level]) -> int:
    return levels[0][0] if levels else 0


def _taken(side: Side, levels: list[Level], whole: bool, limit: int) -> tuple[list[Level], bool]:
    """The levels an order can take and one beyond, which proves that its limit ended the walk and not the view."""
    kept = 0
    for price, _ in levels[:LEVELS_MAX]:
        kept += 1
        if not within(side, price, limit):
            break
    return levels[:kept], whole and kept == len(levels)
