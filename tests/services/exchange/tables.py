"""Scenarios as text: one line is one action or one expectation; a word that is not known fails the test.

open alice 1000                         account with cash; `open mm 1000 liquidity`
give alice YES 50                       deposit tokens
alice BUY YES 10 @ 0.52 as a1 -> live   also FAK, FOK, GTC, `post-only`, `GTD 60` (seconds to live)
bob SELL YES 4 @ 0.50 as b1 -> matched 4 for 2.08
bob BUY YES 1 @ 0.999 as b2 -> BAD_TICK
alice cancel a1 x9 -> a1                what was cancelled; `alice cancel all -> -`, `cancel YES`
ladder mm bids 10@0.50 asks 5@0.55 -> ok
tick 0.001
wait 1.5
book bids 6@0.52 asks -                 sizes at prices, YES terms, best first
trade b1 SELL YES 4 @ 0.52 fee 0 from a1 BUY YES 4 @ 0.52
no trade
has alice 994.8 free 991.68 YES 4 NO 0  cash, cash not reserved, tokens
order a1 LIVE 4/10
settled MINED
events m.TradeMade a.TradeMade ...      of the last action, m(arket) or a(ccount) stream
"""

from __future__ import annotations

from collections.abc import Callable

from common.effects import Publish
from common.fixed import format_micros
from common.messages import (
    Accepted,
    BookState,
    CancelAnswer,
    CancelScope,
    Deposit,
    ExchangeTrade,
    MakerFill,
    Message,
    OrderAnswer,
    Refused,
    SetTick,
    TradeMade,
    TradeSettled,
)
from common.types import TimeInForce
from services.exchange.core import ExchangeCore
from tests.services.exchange.world import NO, SECOND, YES, World, micros

TOKENS = {"YES": YES, "NO": NO}
WORDS = {token: word for word, token in TOKENS.items()}


def play(text: str, world: World | None = None) -> World:
    """Run a table; every line is checked as it is reached."""
    table = Table(world or World())
    for number, line in enumerate(text.strip().splitlines(), 1):
        words = line.split("#")[0].split()
        if words:
            try:
                table.run(words)
            except AssertionError as error:
                raise AssertionError(f"line {number}: {line.strip()}\n{error}") from error
    return table.world


class Table:
    def __init__(self, world: World) -> None:
        self.world = world
        self.words: dict[str, Callable[[list[str]], None]] = {
            "open": self.open,
            "give": self.give,
            "ladder": self.ladder,
            "tick": self.tick,
            "wait": self.wait,
            "book": self.book,
            "trade": self.trade,
            "no": self.no_trade,
            "has": self.has,
            "order": self.order,
            "settled": self.settled,
            "events": self.events,
        }
        self.seen: list[ExchangeTrade] = []

    def run(self, words: list[str]) -> None:
        known = self.words.get(words[0])
        if known is not None:
            known(words[1:])
        elif len(words) > 1 and words[1] == "cancel":
            self.cancel(words[0], words[2:])
        elif len(words) > 1 and words[1] in ("BUY", "SELL"):
            self.submit(words)
        else:
            raise AssertionError(f"unknown word {words[0]!r}")
        self.check_restart()

    def check_restart(self) -> None:
        """At every line a restart from a checkpoint gives the same state."""
        dumped = self.world.core.dump()
        restored = ExchangeCore()
        restored.load(dumped)
        assert restored.dump() == dumped

    # --- actions ---

    def acted(self, answer: Message | None) -> None:
        self.seen = [event.trade for event in self.world.events("market") if isinstance(event, TradeMade)]
        assert answer is not None

    def open(self, words: list[str]) -> None:
        assert words[2:] in ([], ["liquidity"]), words
        self.world.account(words[0], words[1], liquidity=len(words) == 3)

    def give(self, words: list[str]) -> None:
        name, asset, amount = words
        token = "" if asset == "cash" else TOKENS[asset]
        assert isinstance(self.world.send(Deposit(self.world.next_id(), name, token, micros(amount))), Accepted)

    def submit(self, words: list[str]) -> None:
        name, side, outcome, size, at, price, *rest = words
        assert at == "@", words
        more: dict[str, object] = {}
        while rest[0] != "as":
            word = rest.pop(0)
            if word == "post-only":
                more["post_only"] = True
            elif word == "GTD":
                more["expire_ns"] = self.world.wall_ns + int(float(rest.pop(0)) * SECOND)
                more["tif"] = "GTD"
            else:
                more["tif"] = TimeInForce(word).value
        assert rest[2] == "->", rest
        answer = self.world.submit(name, rest[1], side, TOKENS[outcome], size, price, **more)
        self.acted(answer)
        assert _outcome(answer) == " ".join(rest[3:]), answer

    def cancel(self, name: str, words: list[str]) -> None:
        arrow = words.index("->")
        named, expected = words[:arrow], words[arrow + 1 :]
        if named == ["all"] or named[0] in TOKENS:
            scope = CancelScope(self.world.next_id(), name, "", TOKENS.get(named[0], ""))
            answer = self.world.send(scope)
        else:
            answer = self.world.cancel(name, *named)
        self.acted(answer)
        assert isinstance(answer, CancelAnswer), answer
        assert (answer.canceled or ["-"]) == expected

    def ladder(self, words: list[str]) -> None:
        arrow, asks = words.index("->"), words.index("asks")
        assert words[1] == "bids", words
        answer = self.world.ladder(words[0], _levels(words[2:asks]), _levels(words[asks + 1 : arrow]))
        self.acted(answer)
        assert ("ok" if isinstance(answer, Accepted) else _outcome(answer)) == words[arrow + 1]

    def tick(self, words: list[str]) -> None:
        answer = self.world.send(SetTick(self.world.next_id(), "0xc0", micros(words[0])))
        self.acted(answer)
        assert isinstance(answer, Accepted), answer

    def wait(self, words: list[str]) -> None:
        self.world.pass_time(float(words[0]))

    # --- expectations ---

    def book(self, words: list[str]) -> None:
        asks = words.index("asks")
        assert words[0] == "bids", words
        state = self.world.core.engine.router.condition("0xc0").state(0)
        assert isinstance(state, BookState)
        shown = [[f"{format_micros(size)}@{format_micros(price)}" for price, size in s] or ["-"] for s in _sides(state)]
        assert shown == [words[1:asks], words[asks + 1 :]]

    def trade(self, words: list[str]) -> None:
        assert self.seen, "no (further) trade"
        assert _shown_trade(self.seen.pop(0)) == " ".join(words)

    def no_trade(self, words: list[str]) -> None:
        assert words == ["trade"], words
        assert [_shown_trade(trade) for trade in self.seen] == []

    def has(self, words: list[str]) -> None:
        name, cash, free, free_cash, *tokens = words
        assert free == "free", words
        report = self.world.balances(name)
        shown = [format_micros(report.cash), format_micros(report.cash - report.reserved.get("", 0))]
        assert shown == [cash, free_cash]
        for word, amount in zip(tokens[::2], tokens[1::2], strict=True):
            assert format_micros(report.tokens.get(TOKENS[word], 0)) == amount, word

    def order(self, words: list[str]) -> None:
        order_id, *expected = words
        now = self.world.order_now(order_id)
        assert [now.status, f"{format_micros(now.filled_size)}/{format_micros(now.size)}"] == expected

    def settled(self, words: list[str]) -> None:
        moved = [e.trade.settlement.value for e in self.world.events() if isinstance(e, TradeSettled)]
        assert (moved or ["-"]) == words

    def events(self, words: list[str]) -> None:
        published = [e for e in self.world.effects if isinstance(e, Publish)]
        assert [f"{e.topic[0]}.{type(e.body).__name__}" for e in published] == words


def _levels(words: list[str]) -> list[tuple[str, str]]:
    pairs = [word.split("@") for word in words if word != "-"]
    return [(price, size) for size, price in pairs]


def _sides(state: BookState) -> list[list[tuple[int, int]]]:
    return [state.bids, state.asks]


def _outcome(answer: Message | None) -> str:
    if isinstance(answer, OrderAnswer):
        moved = f" {format_micros(answer.making)} for {format_micros(answer.taking)}" if answer.taking else ""
        return answer.status + moved
    assert isinstance(answer, Refused), answer
    return answer.code.value


def _shown_trade(trade: ExchangeTrade) -> str:
    makers = " + ".join(map(_shown_maker, trade.makers))
    leg = f"{trade.side.value} {WORDS[trade.token_id]} {format_micros(trade.size)} @ {format_micros(trade.price)}"
    return f"{_shown_id(trade.taker_order_id)} {leg} fee {format_micros(trade.fee)} from {makers}"


def _shown_maker(maker: MakerFill) -> str:
    leg = f"{maker.side.value} {WORDS[maker.token_id]} {format_micros(maker.size)} @ {format_micros(maker.price)}"
    return f"{_shown_id(maker.venue_order_id)} {leg}"


def _shown_id(order_id: str) -> str:
    """Orders of a ladder have derived ids; in tables they are all called `quote`."""
    return "quote" if order_id.startswith("0x") else order_id
