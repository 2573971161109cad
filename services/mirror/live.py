"""What the mirror sends next for one market of the live venue (paper mode). Pure.

In: the live book and prints, what the exchange says of its own book and trades, its answers, time. Out: one command at
a time: open, set the tick, trade a print against local orders, fund, send the ladder. What a print consumed is traded
before the ladder shrinks, so that local orders are hit in their place of the queue. A book nobody confirms is withdrawn
after a bound. Command ids are of this life of the process; the shell repeats an unanswered command under its id.
"""

from __future__ import annotations

from collections import Counter, deque
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from common.fixed import mul_ceil
from common.instruments import Market
from common.latest import TokenView
from common.messages import (
    Accepted,
    BookState,
    Deposit,
    ExchangeTrade,
    Level,
    LevelsChanged,
    Message,
    OpenAccount,
    OpenMarket,
    OrderAnswer,
    QuoteLadder,
    Refused,
    SetTick,
    SubmitOrder,
    TradePrint,
)
from common.reasons import Reason
from common.types import ONE, FeedState, Side, TimeInForce
from services.mirror.prints import Hit, PrintsOnce
from services.mirror.shown import Shown, Sizes
from services.mirror.window import LiveBook, rank_of

LIQUIDITY = "mirror"
TAKER = "mirror-taker"
"""Whose orders the prints are: an account of its own, so that they meet our ladder like anybody's."""
HITS_MAX = 1_000
"""Prints that wait for their turn; the oldest are dropped and counted."""
LEVELS_MAX = 1_000
"""Of one side of a ladder (the exchange's own limit): the worst are left out."""
FUNDING_FACTOR = 4
FUNDING_MIN: Final = 100_000 * ONE
REPAIRS_MAX = 2
NOTHING: Final[Sizes] = {Side.BUY: {}, Side.SELL: {}}


class LiveRules(NamedTuple):
    """The settings that decide, in nanoseconds."""

    match_window_ns: int
    withdraw_after_ns: int


def account_commands() -> list[OpenAccount]:
    return [OpenAccount(f"{name}:open", name, 0, liquidity=True) for name in (LIQUIDITY, TAKER)]


class LiveMarket:
    """One market's conversation with the exchange. `life` differs between two runs of the process."""

    def __init__(self, market: Market, rules: LiveRules, life: str, now_ns: int, *, is_open: bool = False) -> None:
        self.market = market
        self.counters: Counter[str] = Counter()
        self.book = LiveBook()
        self.shown = Shown()
        self._rules = rules
        self._id = f"{LIQUIDITY}:{market.condition_id}:{life}"
        self._sent = 0
        self._is_open = is_open
        self._is_listed = self._is_closed = False
        self._tick: int | None = None
        self._view_tick = market.tick
        self._epoch: int | None = None
        self._doubted_ns: int | None = now_ns
        self._prints = PrintsOnce(market.token_ids)
        self._hits: deque[Hit] = deque()
        self._hit: Hit | None = None
        self._repairs = 0
        self._deposits: deque[Deposit] = deque()
        self._crossed: Counter[Side] = Counter()
        self._refused: set[Reason] = set()

    # --- what the live venue says ---

    def on_listed(self, market: Market) -> None:
        """The market as market_data has it now; one that takes no orders any more is over."""
        self.market = market
        self._is_listed, self._is_closed = True, not market.accepting

    def on_view(self, view: TokenView | None, now_ns: int) -> None:
        """The newest version of the first token's book."""
        if view is None or view.state is not FeedState.LIVE:
            self._doubted_ns = now_ns if self._doubted_ns is None else self._doubted_ns
            return
        is_same = self._doubted_ns is None and view.epoch == self._epoch
        self._doubted_ns, self._epoch, self._view_tick = None, view.epoch, view.tick
        if is_same:
            until_ns = now_ns + self._rules.match_window_ns
            self.book.change(view, self.shown.local_ranks(), until_ns)
        else:
            self.book.replace(view)

    def on_print(self, print_: TradePrint) -> None:
        """A public trade of either token. It is a fact also while the book is in doubt: what we show still stands."""
        hit = self._prints.take(print_)
        if hit is None:
            self.counters["prints_passed_over"] += 1
        elif self._epoch is not None:
            self._hits.append(hit)
            if len(self._hits) > HITS_MAX:
                self._hits.popleft()
                self.counters["prints_dropped"] += 1

    # --- what the exchange says ---

    def on_opened(self) -> None:
        self.shown.on_opened()

    def on_book(self, book: BookState) -> None:
        self.shown.on_book(book)

    def on_levels(self, changed: LevelsChanged) -> None:
        self.shown.on_levels(changed)

    def on_trade(self, trade: ExchangeTrade) -> None:
        """Of ours and others' trades: what left our levels, and what local orders took of them."""
        if trade.taker_account == LIQUIDITY:
            side = trade.side
            if self.shown.asked is not None:
                self._crossed[side] += trade.size
            else:
                self._settle_crossed(side, trade.size)
            return
        for maker in trade.makers:
            if maker.account == LIQUIDITY:
                self.shown.lost(maker.side, maker.price, maker.size)
                if trade.taker_account != TAKER:
                    self.book[maker.side].took(maker.price, maker.size)

    def on_gap(self) -> None:
        """Something of the exchange's stream was lost; a snapshot follows."""
        self.shown.forget()

    # --- what to do ---

    @property
    def is_showing(self) -> bool:
        """Whether the exchange has acknowledged a ladder of the live book."""
        return self.shown.own is not None and any(self.shown.own.values())

    def is_trusted(self, now_ns: int) -> bool:
        """Whether the live book may be shown."""
        return not (self._is_closed or self._is_overdue(now_ns))

    @property
    def is_over(self) -> bool:
        """The market is closed, or left from before and not listed any more, and nothing of ours is in it."""
        is_wanted = self._is_listed and not self._is_closed
        return not is_wanted and (not self._is_open or self.shown.own == NOTHING)

    def next_command(self, now_ns: int) -> Message | None:
        """What to send now; None when there is nothing to be done before `due_ns`."""
        self.book.expire(now_ns)
        if not self.is_trusted(now_ns):
            self._hits.clear()
            self._hit = None
            if not self._is_open:
                return None
            return None if self.shown.own == NOTHING else self._ladder(NOTHING)
        if self._epoch is None:
            return None  # no book yet: what an earlier life left stands until one comes or the bound is over
        if not self._is_open:
            return OpenMarket(self._next_id(), msgspec.structs.replace(self.market, tick=self._view_tick))
        if self._view_tick != self._tick:
            return SetTick(self._next_id(), self.market.condition_id, self._view_tick)
        if self._deposits:
            return self._deposits[0]
        return self._next_hit(now_ns) or self._next_ladder()

    def due_ns(self, now_ns: int) -> int | None:
        """When time alone changes what is to be done."""
        dues = [] if (due := self.book.due_ns()) is None else [due]
        if self._doubted_ns is not None and not self._is_overdue(now_ns):
            dues.append(self._doubted_ns + self._rules.withdraw_after_ns)
        return min(dues, default=None)

    def answered(self, command: Message, answer: Message) -> Refused | None:
        """Note an answer; returns a refusal the operator has not seen of this market yet."""
        if isinstance(answer, Refused) and not _is_no_match(command, answer):
            return self._note_refusal(command, answer)
        assert isinstance(answer, Accepted | OrderAnswer | Refused), f"{type(answer).__name__} answers no command"
        match command:
            case OpenMarket():
                self._is_open = True
            case SetTick():
                self._tick = command.tick
            case Deposit():
                self._deposits.popleft()
            case SubmitOrder():
                self.counters["prints_traded"] += 1
                self._hit, self._repairs = None, 0
            case QuoteLadder():
                self._note_ladder()
        return None

    # --- prints ---

    def _next_hit(self, now_ns: int) -> SubmitOrder | None:
        """The next print as an aggressor, when there is a local order it could reach."""
        if self._hit is not None:
            return self._aggressor(self._hit)
        until_ns = now_ns + self._rules.match_window_ns
        while self._hits:
            hit = self._hits[0]
            reaches = self.shown.local_rank(hit.side) >= rank_of(hit.side, hit.price)
            if reaches and self._shows_better_than(hit):
                return None  # a ladder first: this trade did not meet those levels
            self._hits.popleft()
            size = self.book[hit.side].traded(hit.price, hit.size, until_ns, hit.venue_ns)
            if reaches and size:
                self._hit = hit._replace(size=size)
                return self._aggressor(self._hit)
        return None

    def _shows_better_than(self, hit: Hit) -> bool:
        """Whether our ladder has more at better prices than the live book."""
        wanted = self._wanted()[hit.side]
        own = self.shown.own
        if own is None:
            return True
        return any(
            size > wanted.get(price, 0)
            for price, size in own[hit.side].items()
            if rank_of(hit.side, price) > rank_of(hit.side, hit.price)
        )

    def _aggressor(self, hit: Hit) -> SubmitOrder:
        """A SELL of one token or the other: what buys one outcome sells its complement, and a SELL has no minimum."""
        key = self._next_id()
        if hit.side is Side.BUY:
            token, price = self.market.token_ids[0], hit.price
        else:
            token, price = self.market.token_ids[1], ONE - hit.price
        order_id = "0x" + blake2b(key.encode(), digest_size=32).hexdigest()
        return SubmitOrder(key, TAKER, order_id, token, Side.SELL, price, hit.size, TimeInForce.FAK)

    # --- ladders ---

    def _next_ladder(self) -> QuoteLadder | None:
        wanted = self._wanted()
        return None if wanted == self.shown.own else self._ladder(wanted)

    def _ladder(self, wanted: Sizes) -> QuoteLadder:
        bids: list[Level] = sorted(wanted[Side.BUY].items(), reverse=True)
        asks: list[Level] = sorted(wanted[Side.SELL].items())
        self._crossed.clear()
        self.shown.ladder_sent(wanted)
        return QuoteLadder(self._next_id(), LIQUIDITY, self.market.condition_id, bids, asks)

    def _wanted(self) -> Sizes:
        """The live book as far as the exchange takes it."""
        tick = self._view_tick
        sizes: Sizes = {}
        for side, levels in self.book.wanted().items():
            fit = {price: size for price, size in levels.items() if price % tick == 0 and tick <= price <= ONE - tick}
            best = sorted(fit, reverse=side is Side.BUY)[:LEVELS_MAX]
            sizes[side] = {price: fit[price] for price in best}
        return sizes

    def _note_ladder(self) -> None:
        self.counters["ladders"] += 1
        self.shown.ladder_taken()
        for side, size in self._crossed.items():
            self._settle_crossed(side, size)
        self._crossed.clear()

    def _settle_crossed(self, side: Side, size: int) -> None:
        """Part of a ladder met local orders: its best levels, as those stood in front of everything behind."""
        for price in self.shown.best_first(side):
            gone = self.shown.lost(side, price, size)
            if gone:
                self.book[side].took(price, gone)
            size -= gone
            if not size:
                return

    # --- refusals ---

    def _note_refusal(self, command: Message, refused: Refused) -> Refused | None:
        """Repair what can be repaired. A refused ladder is sent again, newer; a refused print is given up."""
        self.counters["refused"] += 1
        repaired = False
        match command:
            case QuoteLadder():
                self.shown.ladder_refused()
                repaired = refused.code is Reason.INSUFFICIENT_BALANCE
                if repaired:
                    self._fund_ladder(command, refused.field)
                elif refused.code is Reason.BAD_TICK:
                    self._tick = None
            case SubmitOrder():
                self._repairs += 1
                repaired = refused.code is Reason.INSUFFICIENT_BALANCE and self._repairs <= REPAIRS_MAX
                if repaired:
                    self._fund(TAKER, command.token_id, command.size)
                else:
                    self.counters["prints_refused"] += 1
                    self._hit, self._repairs = None, 0
            case Deposit():
                self._deposits.popleft()
            case _:
                pass  # asked again, under a new id
        is_news = not repaired and refused.code not in self._refused
        if is_news:
            self._refused.add(refused.code)
        return refused if is_news else None

    def _fund_ladder(self, ladder: QuoteLadder, field: str) -> None:
        if field == "bids":
            self._fund(LIQUIDITY, "", sum(mul_ceil(price, size) for price, size in ladder.bids))
        else:
            self._fund(LIQUIDITY, self.market.token_ids[0], sum(size for _, size in ladder.asks))

    def _fund(self, account: str, asset: str, need: int) -> None:
        self._deposits.append(Deposit(self._next_id(), account, asset, max(FUNDING_MIN, need * FUNDING_FACTOR)))

    # --- small ---

    def _is_overdue(self, now_ns: int) -> bool:
        return self._doubted_ns is not None and now_ns - self._doubted_ns >= self._rules.withdraw_after_ns

    def _next_id(self) -> str:
        self._sent += 1
        return f"{self._id}:{self._sent}"


def _is_no_match(command: Message, answer: Refused) -> bool:
    """A print that met nobody: the local orders it was for are gone."""
    return isinstance(command, SubmitOrder) and answer.code is Reason.FAK_NOT_FILLED
