"""What the mirror sends next for each market. Pure.

In: the playback position and the exchange's answers. Out: one command at a time per market: open the market, fund the
loop, set the tick, send the ladder of the newest due snapshot (older ones are skipped and counted). Command ids are
made from market, loop and snapshot, so whatever is repeated after a restart happens once (a tick may be set twice).
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

from common.instruments import Market
from common.messages import Accepted, Deposit, Message, OpenAccount, OpenMarket, QuoteLadder, Refused, SetTick
from common.reasons import Reason
from common.venues.polymarket.contracts import is_position_id
from services.mirror.playback import TICK, Position, RecordedMarket, Track

ACCOUNT = "mirror"
MIN_SIZE = 5_000_000
NS_PER_MS = 1_000_000
FUNDING_FACTOR = 4
"""A loop is funded with this many times the largest ladder: what users take is replaced from it."""


def token_id(condition_id: str, index: int) -> str:
    """A full-size 256-bit token id derived from condition and outcome (protocol section 3.1: small ones mean V3)."""
    number = int.from_bytes(sha256(f"polyexec:{condition_id}:{index}".encode()).digest()) | 1 << 255
    assert not is_position_id(number)
    return str(number)


def market_of(recorded: RecordedMarket, fee_rate: int) -> Market:
    return Market(
        venue="polymarket",
        condition_id=recorded.condition_id,
        slug=recorded.slug,
        question=recorded.question,
        outcomes=recorded.outcomes,
        token_ids=(token_id(recorded.condition_id, 0), token_id(recorded.condition_id, 1)),
        tick=TICK,
        min_size=MIN_SIZE,
        fee_rate=fee_rate,
        start_ns=recorded.start_ms * NS_PER_MS,
        end_ns=recorded.end_ms * NS_PER_MS,
        category=recorded.category,
    )


def account_command() -> OpenAccount:
    return OpenAccount(f"{ACCOUNT}:open", ACCOUNT, 0, liquidity=True)


class MarketMirror:
    """One market's conversation with the exchange."""

    def __init__(self, track: Track, fee_rate: int) -> None:
        self.track = track
        self.market = market_of(track.market, fee_rate)
        self.counters: Counter[str] = Counter()
        self._opened = False
        self._tick: int | None = None
        self._top_ups = 0
        self._funded: set[str] = set()
        self._funded_loop = -1
        self._shown: Position | None = None
        self._refused: set[Reason] = set()
        tokens = max(sum(size for _, size in found.asks) for found in track.market.snapshots)
        cash = max(sum(-(-price * size // 1_000_000) for price, size in found.bids) for found in track.market.snapshots)
        self._funding = {"": cash * FUNDING_FACTOR, self.market.token_ids[0]: tokens * FUNDING_FACTOR}

    @property
    def condition_id(self) -> str:
        return self.market.condition_id

    def is_current(self, now_ns: int) -> bool:
        """Whether the exchange holds what the recording shows now (or nothing is due yet in this loop)."""
        position = self.track.position(now_ns)
        return self._opened and (position.at < 0 or self._shown == position)

    def next_command(self, now_ns: int) -> Message | None:
        """What to send now; None when everything due was acknowledged."""
        if not self._opened:
            return OpenMarket(f"mirror:{self.condition_id}:open", self.market)
        position = self.track.position(now_ns)
        if position.at < 0 or position == self._shown:
            return None
        funding = self._next_funding(position.loop)
        if funding is not None:
            return funding
        tick = self.track.tick(position)
        if tick != self._tick:
            key = f"mirror:{self.condition_id}:{position.loop}:tick:{tick}:{now_ns}"
            return SetTick(key, self.condition_id, tick)
        snapshot = self.track.snapshot(position)
        return QuoteLadder(
            f"mirror:{self.condition_id}:{position.loop}:{position.at}",
            ACCOUNT,
            self.condition_id,
            list(snapshot.bids),
            list(snapshot.asks),
        )

    def answered(self, command: Message, answer: Message) -> Refused | None:
        """Note an answer; returns a refusal the operator has not seen of this market yet."""
        if isinstance(answer, Refused):
            return self._note_refusal(command, answer)
        assert isinstance(answer, Accepted), f"{type(answer).__name__} answers no command of the mirror"
        match command:
            case OpenMarket():
                self._opened = True
            case Deposit():
                self._funded.add(command.asset)
            case SetTick():
                self._tick = command.tick
            case QuoteLadder():
                self._note_shown(_position_of(command))
        return None

    def _next_funding(self, loop: int) -> Deposit | None:
        if loop != self._funded_loop:
            self._funded_loop, self._funded, self._top_ups = loop, set(), 0
        for asset, amount in self._funding.items():
            if asset not in self._funded:
                what = "shares" if asset else "cash"
                key = f"mirror:{self.condition_id}:{loop}:fund:{self._top_ups}:{what}"
                return Deposit(key, ACCOUNT, asset, amount)
        return None

    def _note_shown(self, position: Position) -> None:
        before = self._shown
        if before is not None and before.loop == position.loop:
            self.counters["snapshots_skipped"] += position.at - before.at - 1
        self.counters["snapshots_played"] += 1
        self._shown = position

    def _note_refusal(self, command: Message, refused: Refused) -> Refused | None:
        """Repair what can be repaired; otherwise this snapshot is given up and the next one is tried."""
        self.counters["refused"] += 1
        if refused.code is Reason.INSUFFICIENT_BALANCE:
            self._top_ups += 1
            self._funded = set()
        elif refused.code is Reason.BAD_TICK:
            self._tick = None
        elif isinstance(command, QuoteLadder):
            self._shown = _position_of(command)
        first = refused.code not in self._refused
        self._refused.add(refused.code)
        return refused if first else None


def _position_of(ladder: QuoteLadder) -> Position:
    _, _, loop, at = ladder.command_id.split(":")
    return Position(int(loop), int(at))
