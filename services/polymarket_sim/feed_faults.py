"""What the feed's faults do to the frames of one market-channel connection. Pure.

In: the fault switch, one connection's memory, an event and its frame. Out: the frames that leave instead, in order.
Nothing is random: "every Nth frame" counts per connection, so a test can say what was lost.
"""

from __future__ import annotations

from typing import Final

from common.venues.polymarket.market import (
    BestBidAskEvent,
    BookEvent,
    LastTradeEvent,
    MarketEvent,
    PriceChangeEvent,
    TickSizeEvent,
    UnknownEvent,
)
from common.venues.polymarket.wire import encode_json
from services.polymarket_sim.faults import TOKEN, FaultSwitch, tokens_in
from services.polymarket_sim.parameters import Values

GARBAGE: Final = b"\x00 not json {{{"
"""UTF-8, as a text frame must be: of any other, many libraries end the connection before the client sees it."""
MEGABYTE: Final = 1_000_000

TokenEvent = BookEvent | LastTradeEvent | TickSizeEvent | BestBidAskEvent


class ConnectionFaults:
    """One connection's part: its number, and frames counted per fault."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.kept: dict[str, bytes] = {}
        """By market, a frame that follows the next one: while there is any, frames pass here with every fault off."""
        self._counted: dict[str, tuple[int, int]] = {}
        """By fault: which switching on is counted for, and how many frames since."""

    def shape(self, switch: FaultSwitch, event: MarketEvent, frame: bytes) -> list[bytes]:
        """The frames that leave in the place of one event's frame."""
        shaped = self._thaw(switch, event, frame)
        if shaped is None or isinstance(event, UnknownEvent):
            return []
        if self._strikes(switch, "drop_market_events"):
            return []
        frames = [shaped]
        if self._strikes(switch, "garbage_frames"):
            frames = [GARBAGE]
        elif self._strikes(switch, "half_json_frames"):
            frames = [shaped[: len(shaped) // 2]]
        elif self._strikes(switch, "duplicate_market_events"):
            frames = [shaped, shaped]
        if (values := self._struck(switch, "oversized_frames")) is not None:
            frames.append(b'{"event_type":"' + b"x" * (_number(values["mb"]) * MEGABYTE) + b'"}')
        return self._swap(switch, event.market, frames)

    def _swap(self, switch: FaultSwitch, market: str, frames: list[bytes]) -> list[bytes]:
        """Every Nth frame is kept back and follows the next one of its market."""
        is_nth = self._is_nth(switch, "reorder_market_events")
        kept = self.kept.pop(market, None)
        if kept is not None:
            return [*frames, kept]
        if is_nth and switch.use("reorder_market_events") is not None:
            self.kept[market] = frames.pop()
        return frames

    def is_frozen(self, switch: FaultSwitch, token_id: str) -> bool:
        """Whether nothing about this token leaves on this connection."""
        values = switch.values("freeze_token")
        if values is None or token_id not in tokens_in(values[TOKEN]):
            return False
        return bool(values["everywhere"]) or self.number <= switch.last_connection("freeze_token")

    def _thaw(self, switch: FaultSwitch, event: MarketEvent, frame: bytes) -> bytes | None:
        """The frame without what is frozen; None when nothing is left."""
        if not switch.is_on("freeze_token"):
            return frame
        if isinstance(event, TokenEvent):
            return None if self.freezes(switch, event.token_id) else frame
        if not isinstance(event, PriceChangeEvent):
            return frame
        left = tuple(change for change in event.changes if not self.is_frozen(switch, change.token_id))
        if len(left) == len(event.changes):
            return frame
        switch.use("freeze_token")
        return encode_json(PriceChangeEvent(event.market, left, event.timestamp_ns).to_wire()) if left else None

    def freezes(self, switch: FaultSwitch, token_id: str) -> bool:
        """Whether something about this one token must not leave now."""
        return self.is_frozen(switch, token_id) and switch.use("freeze_token") is not None

    def withholds(self, switch: FaultSwitch, token_id: str) -> bool:
        """Whether a subscription to this token gets no first book."""
        if self.freezes(switch, token_id):
            return True
        values = switch.values("withhold_first_book")
        if values is None or token_id not in (tokens_in(values[TOKEN]) or [token_id]):
            return False
        return switch.use("withhold_first_book") is not None

    def _strikes(self, switch: FaultSwitch, name: str) -> bool:
        return self._struck(switch, name) is not None

    def _struck(self, switch: FaultSwitch, name: str) -> Values | None:
        return switch.use(name) if self._is_nth(switch, name) else None

    def _is_nth(self, switch: FaultSwitch, name: str) -> bool:
        """Count this frame: is it the Nth of the connection since the fault was switched on?"""
        values = switch.values(name)
        if values is None:
            return False
        turn, counted = self._counted.get(name, (0, 0))
        current = switch.switched_on(name)
        counted = counted + 1 if turn == current else 1
        self._counted[name] = (current, counted)
        return counted % _number(values["every"]) == 0


def _number(value: int | str) -> int:
    assert isinstance(value, int)
    return value
