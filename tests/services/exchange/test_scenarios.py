"""What the exchange does, as tables a trader can read; money and books are audited after every line."""

from __future__ import annotations

import pytest

from tests.services.exchange.tables import play
from tests.services.exchange.world import World

PEOPLE = """
    open alice 1000
    open bob 1000
    open carol 1000
    give alice YES 100
    give bob YES 100
    give bob NO 100
    give carol NO 100
"""

SCENARIOS = {
    "a resting order reserves cash and a cancel gives it back": """
        alice BUY YES 10 @ 0.52 as a1 -> live
        events m.LevelsChanged a.OrderPlaced m.StepCompleted
        book bids 10@0.52 asks -
        has alice 1000 free 994.8 YES 100
        order a1 LIVE 0/10
        alice cancel a1 -> a1
        events m.LevelsChanged a.OrderCanceled m.StepCompleted
        book bids - asks -
        has alice 1000 free 1000
        order a1 CANCELED 0/10
        alice cancel a1 -> -
    """,
    "a seller meets a buyer of the same token: transfer at the maker's price": """
        alice BUY YES 10 @ 0.52 as a1 -> live
        bob SELL YES 6 @ 0.50 as b1 -> matched 6 for 3.12
        trade b1 SELL YES 6 @ 0.52 fee 0 from a1 BUY YES 6 @ 0.52
        events m.TradeMade a.TradeMade m.LevelsChanged a.OrderMatched a.OrderMatched m.StepCompleted
        book bids 4@0.52 asks -
        has alice 996.88 free 994.8 YES 106
        has bob 1003.12 free 1003.12 YES 94
        order b1 MATCHED 6/6
        order a1 LIVE 6/10
    """,
    "improvement goes to the taker": """
        bob SELL YES 10 @ 0.40 as b1 -> live
        alice BUY YES 10 @ 0.60 as a1 -> matched 4 for 10
        trade a1 BUY YES 10 @ 0.4 fee 0 from b1 SELL YES 10 @ 0.4
        has alice 996 free 996 YES 110
    """,
    "buyers of both outcomes mint a set, each at its own price": """
        alice BUY YES 10 @ 0.60 as a1 -> live
        carol BUY NO 10 @ 0.45 as c1 -> matched 4 for 10
        trade c1 BUY NO 10 @ 0.4 fee 0 from a1 BUY YES 10 @ 0.6
        has alice 994 free 994 YES 110
        has carol 996 free 996 NO 110
        book bids - asks -
    """,
    "sellers of both outcomes merge a set": """
        alice SELL YES 10 @ 0.30 as a1 -> live
        book bids - asks 10@0.3
        carol SELL NO 10 @ 0.65 as c1 -> matched 10 for 7
        trade c1 SELL NO 10 @ 0.7 fee 0 from a1 SELL YES 10 @ 0.3
        has alice 1003 free 1003 YES 90
        has carol 1007 free 1007 NO 90
    """,
    "a bid for NO stands as an offer of YES": """
        carol BUY NO 10 @ 0.45 as c1 -> live
        book bids - asks 10@0.55
        alice BUY YES 4 @ 0.55 FAK as a1 -> matched 2.2 for 4
        trade a1 BUY YES 4 @ 0.55 fee 0 from c1 BUY NO 4 @ 0.45
        book bids - asks 6@0.55
    """,
    "one price level mixes transfer and mint in time order": """
        carol BUY NO 5 @ 0.40 as c1 -> live
        bob SELL YES 5 @ 0.60 as b1 -> live
        alice BUY YES 8 @ 0.60 as a1 -> matched 4.8 for 8
        trade a1 BUY YES 8 @ 0.6 fee 0 from c1 BUY NO 5 @ 0.4 + b1 SELL YES 3 @ 0.6
        book bids - asks 2@0.6
    """,
    "price first, then time": """
        bob SELL YES 5 @ 0.55 as b1 -> live
        bob SELL YES 5 @ 0.54 as b2 -> live
        carol BUY NO 5 @ 0.46 as c1 -> live
        book bids - asks 10@0.54 5@0.55
        alice BUY YES 12 @ 0.60 as a1 -> matched 6.5 for 12
        trade a1 BUY YES 10 @ 0.54 fee 0 from b2 SELL YES 5 @ 0.54 + c1 BUY NO 5 @ 0.46
        trade a1 BUY YES 2 @ 0.55 fee 0 from b1 SELL YES 2 @ 0.55
        no trade
    """,
    "a marketable limit order trades and the rest stays": """
        bob SELL YES 5 @ 0.50 as b1 -> live
        alice BUY YES 12 @ 0.51 as a1 -> matched 2.5 for 5
        events m.TradeMade a.TradeMade m.LevelsChanged a.OrderPlaced a.OrderMatched a.OrderMatched m.StepCompleted
        book bids 7@0.51 asks -
        has alice 997.5 free 993.93 YES 105
        order a1 LIVE 5/12
    """,
    "a FAK order takes what is there and its rest is killed": """
        bob SELL YES 5 @ 0.50 as b1 -> live
        alice BUY YES 12 @ 0.51 FAK as a1 -> matched 2.5 for 5
        events m.TradeMade a.TradeMade m.LevelsChanged a.OrderMatched a.OrderMatched a.OrderCanceled m.StepCompleted
        book bids - asks -
        order a1 KILLED 5/12
        has alice 997.5 free 997.5 YES 105
        alice BUY YES 12 @ 0.51 FAK as a2 -> FAK_NOT_FILLED
        events a.OrderCanceled
        order a2 KILLED 0/12
    """,
    "a FOK order is filled whole or killed": """
        bob SELL YES 5 @ 0.50 as b1 -> live
        alice BUY YES 6 @ 0.50 FOK as a1 -> FOK_NOT_FILLED
        book bids - asks 5@0.5
        no trade
        bob SELL YES 5 @ 0.52 as b2 -> live
        alice BUY YES 6 @ 0.55 FOK as a2 -> matched 3.02 for 6
        book bids - asks 4@0.52
        alice BUY YES 6 @ 0.55 FOK as a1 -> DUPLICATE_ORDER
    """,
    "the exact ratio of a market order is its limit, off the grid or not": """
        bob SELL YES 5 @ 0.52 as b1 -> live
        alice BUY YES 5 @ 0.519999 FAK as a1 -> FAK_NOT_FILLED
        alice BUY YES 5 @ 0.520003 FAK as a2 -> matched 2.6 for 5
        carol BUY NO 5 @ 0.30 as c1 -> live
        carol SELL NO 5 @ 0.300001 FAK as c2 -> FAK_NOT_FILLED
        carol SELL NO 5 @ 0.299999 FAK as c3 -> matched 5 for 1.5
    """,
    "post-only is refused when it would match, mirrored book included": """
        bob SELL YES 5 @ 0.50 as b1 -> live
        alice BUY YES 5 @ 0.50 post-only as a1 -> POST_ONLY_CROSSES
        carol SELL NO 5 @ 0.50 post-only as c1 -> POST_ONLY_CROSSES
        carol SELL NO 5 @ 0.51 post-only as c1 -> live
        bob SELL YES 5 @ 0.49 post-only as b2 -> POST_ONLY_CROSSES
        alice BUY NO 5 @ 0.51 post-only as a2 -> POST_ONLY_CROSSES
        book bids 5@0.49 asks 5@0.5
    """,
    "a GTD order lives until its time": """
        alice BUY YES 10 @ 0.52 GTD 60 as a1 -> live
        wait 59.9
        book bids 10@0.52 asks -
        wait 0.1
        events m.LevelsChanged a.OrderCanceled m.StepCompleted
        book bids - asks -
        order a1 EXPIRED 0/10
        has alice 1000 free 1000
    """,
    "cancels reach exactly their scope": """
        alice BUY YES 5 @ 0.40 as a1 -> live
        alice BUY NO 5 @ 0.40 as a2 -> live
        alice BUY YES 5 @ 0.41 as a3 -> live
        bob BUY YES 5 @ 0.42 as b1 -> live
        alice cancel b1 nobody a1 a1 -> a1
        alice cancel NO -> a2
        alice BUY NO 5 @ 0.39 as a4 -> live
        alice cancel all -> a3 a4
        alice cancel all -> -
        book bids 5@0.42 asks -
    """,
    "an account may match itself": """
        bob SELL YES 5 @ 0.50 as b1 -> live
        bob BUY YES 5 @ 0.50 as b2 -> matched 2.5 for 5
        has bob 1000 free 1000 YES 100
        bob BUY NO 5 @ 0.50 as b3 -> live
        bob BUY YES 5 @ 0.50 as b4 -> matched 2.5 for 5
        has bob 995 free 995 YES 105 NO 105
    """,
    "an order id is used once acknowledged, not before": """
        alice BUY YES 10 @ 0.525 as a1 -> BAD_TICK
        alice BUY YES 10 @ 0.52 as a1 -> live
        alice BUY YES 10 @ 0.52 as a1 -> DUPLICATE_ORDER
        bob BUY YES 10 @ 0.52 as a1 -> DUPLICATE_ORDER
        alice cancel a1 -> a1
        alice BUY YES 10 @ 0.52 as a1 -> DUPLICATE_ORDER
    """,
    "room is the balance less what open orders hold": """
        alice BUY YES 1000 @ 0.60 as a1 -> live
        alice BUY NO 500 @ 0.30 as a2 -> live
        has alice 1000 free 250
        alice BUY YES 1000 @ 0.26 as a3 -> INSUFFICIENT_BALANCE
        alice BUY YES 1000 @ 0.25 as a4 -> live
        alice SELL YES 60 @ 0.90 as a5 -> live
        alice SELL YES 41 @ 0.90 as a6 -> INSUFFICIENT_BALANCE
        alice SELL YES 40 @ 0.90 as a7 -> live
    """,
    "trades are mined and then confirmed": """
        alice BUY YES 10 @ 0.52 as a1 -> live
        bob SELL YES 10 @ 0.52 as b1 -> matched 10 for 5.2
        wait 0.399
        settled -
        wait 0.001
        settled MINED
        events a.TradeSettled
        wait 0.8
        settled CONFIRMED
        wait 10
        settled -
    """,
    "a finer grid keeps every order, a coarser one cancels what has no place": """
        tick 0.001
        events m.TickChanged m.StepCompleted
        alice BUY YES 10 @ 0.521 as a1 -> live
        alice BUY NO 10 @ 0.45 as a2 -> live
        tick 0.0001
        book bids 10@0.521 asks 10@0.55
        tick 0.01
        events m.TickChanged m.LevelsChanged a.OrderCanceled m.StepCompleted
        book bids - asks 10@0.55
        order a1 CANCELED 0/10
        has alice 1000 free 995.5
        tick 0.01
        events
    """,
}


@pytest.mark.parametrize("table", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_scenario(table: str) -> None:
    """Each table's title states the behaviour."""
    play(PEOPLE + table)


LADDERS = {
    "a ladder sets the book and its next version replaces it": """
        ladder mm bids 10@0.50 20@0.49 asks 5@0.55 -> ok
        events m.LevelsChanged m.StepCompleted
        book bids 10@0.5 20@0.49 asks 5@0.55
        has mm 10000 free 9985.2
        ladder mm bids 20@0.49 3@0.48 asks 7@0.55 1@0.99 -> ok
        book bids 20@0.49 3@0.48 asks 7@0.55 1@0.99
        ladder mm bids 20@0.49 3@0.48 asks 7@0.55 1@0.99 -> ok
        events
        ladder mm bids - asks - -> ok
        book bids - asks -
        has mm 10000 free 10000
    """,
    "size that goes takes the newest first, size that stays keeps its place": """
        ladder mm bids 10@0.50 asks - -> ok
        alice BUY YES 5 @ 0.50 as a1 -> live
        ladder mm bids 16@0.50 asks - -> ok
        book bids 21@0.5 asks -
        ladder mm bids 8@0.50 asks - -> ok
        bob SELL YES 10 @ 0.50 as b1 -> matched 10 for 5
        trade b1 SELL YES 10 @ 0.5 fee 0 from quote BUY YES 8 @ 0.5 + a1 BUY YES 2 @ 0.5
    """,
    "a grown level queues its growth behind others": """
        ladder mm bids 10@0.50 asks - -> ok
        alice BUY YES 5 @ 0.50 as a1 -> live
        ladder mm bids 16@0.50 asks - -> ok
        bob SELL YES 20 @ 0.50 as b1 -> matched 20 for 10
        trade b1 SELL YES 20 @ 0.5 fee 0 from quote BUY YES 10 @ 0.5 + a1 BUY YES 5 @ 0.5 + quote BUY YES 5 @ 0.5
    """,
    "what was taken comes back with the next ladder": """
        ladder mm bids - asks 10@0.50 -> ok
        alice BUY YES 6 @ 0.50 FAK as a1 -> matched 3 for 6
        events m.TradeMade a.TradeMade m.LevelsChanged a.OrderMatched m.StepCompleted
        book bids - asks 4@0.5
        ladder mm bids - asks 10@0.50 -> ok
        book bids - asks 10@0.5
    """,
    "the crossing part of a ladder trades and the rest stays": """
        alice BUY YES 6 @ 0.55 as a1 -> live
        carol BUY NO 6 @ 0.30 as c1 -> live
        ladder mm bids 5@0.53 asks 4@0.54 10@0.55 -> ok
        trade quote SELL YES 4 @ 0.55 fee 0 from a1 BUY YES 4 @ 0.55
        trade quote SELL YES 2 @ 0.55 fee 0 from a1 BUY YES 2 @ 0.55
        book bids 5@0.53 asks 8@0.55 6@0.7
        ladder mm bids 5@0.53 asks 4@0.54 10@0.55 -> ok
        book bids 5@0.53 asks 4@0.54 10@0.55 6@0.7
    """,
    "sizes below the minimum are fine in a ladder": """
        ladder mm bids 0.01@0.50 asks - -> ok
        book bids 0.01@0.5 asks -
    """,
    "a ladder is refused whole": """
        ladder mm bids 10@0.50 asks 10@0.60 -> ok
        ladder mm bids 11@0.51 asks 10@0.605 -> BAD_TICK
        ladder mm bids 11@0.51 10@0.00 asks - -> BAD_TICK
        ladder mm bids 11@0.51 asks 10@0.51 -> BAD_PRICE
        ladder mm bids 11@0.51 12@0.51 asks - -> BAD_PRICE
        ladder mm bids 11@0.51 asks 0@0.60 -> BAD_SIZE
        ladder mm bids 11@0.51 asks 10001@0.60 -> INSUFFICIENT_BALANCE
        ladder mm bids 11@0.51 30000@0.50 asks - -> INSUFFICIENT_BALANCE
        ladder alice bids 11@0.51 asks - -> BAD_REQUEST
        book bids 10@0.5 asks 10@0.6
        events
    """,
    "a ladder may use all an account has": """
        ladder mm bids 20000@0.50 asks 10000@0.60 -> ok
        ladder mm bids 40000@0.25 asks 10000@0.60 -> ok
        has mm 10000 free 0 YES 10000
    """,
    "cancels come before places": """
        ladder mm bids 20000@0.50 asks 10@0.55 -> ok
        ladder mm bids 16666@0.60 asks 10000@0.61 -> ok
        no trade
        book bids 16666@0.6 asks 10000@0.61
    """,
    "a coarser grid empties the quotes that are off it": """
        tick 0.001
        ladder mm bids 10@0.501 10@0.5 asks 10@0.6 -> ok
        tick 0.01
        events m.TickChanged m.LevelsChanged m.StepCompleted
        book bids 10@0.5 asks 10@0.6
    """,
}


@pytest.mark.parametrize("table", LADDERS.values(), ids=LADDERS.keys())
def test_ladder_scenario(table: str) -> None:
    """Each table's title states the behaviour."""
    play(PEOPLE + "open mm 10000 liquidity\n give mm YES 10000\n" + table)


def test_taker_pays_the_fee_and_the_maker_does_not() -> None:
    """Added on a BUY, deducted from a SELL; 0.07 x C x p x (1-p)."""
    table = """
        alice SELL YES 10 @ 0.50 as a1 -> live
        bob BUY YES 10 @ 0.50 as b1 -> matched 5 for 10
        trade b1 BUY YES 10 @ 0.5 fee 0.175 from a1 SELL YES 10 @ 0.5
        has alice 1005 free 1005 YES 90
        has bob 994.825 free 994.825 YES 110
        alice BUY YES 10 @ 0.40 as a2 -> live
        bob SELL YES 10 @ 0.40 as b2 -> matched 10 for 4
        trade b2 SELL YES 10 @ 0.4 fee 0.168 from a2 BUY YES 10 @ 0.4
        has bob 998.657 free 998.657 YES 100
    """
    play(PEOPLE + table, World(fee_rate=70_000))


def test_buy_needs_room_for_its_fee() -> None:
    """Exactly the amount plus the fee is enough, one micro less is not; a resting order needs no fee."""
    table = """
        open dan 5.174999
        open eve 5.175
        alice SELL YES 10 @ 0.50 as a1 -> live
        dan BUY YES 10 @ 0.50 as d1 -> INSUFFICIENT_BALANCE
        eve BUY YES 10 @ 0.50 as e1 -> matched 5 for 10
        has eve 0 free 0 YES 10
        dan BUY YES 10 @ 0.50 as d1 -> live
    """
    play(PEOPLE + table, World(fee_rate=70_000))
