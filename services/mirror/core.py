"""What the mirror sends next for each market. Pure.

In: the playback position and the exchange's answers. Out: one command at a time per market: open the market, fund the
loop, set the tick, send the ladder of the newest due snapshot (older ones are skipped and counted). Command ids are
made from market, loop and snapshot, so whatever is repeated after a restart happens once; setting a tick is harmless
twice, but must happen whenever it is asked for, so its ids are of this life.
A refused ladder is repaired and sent again under a new id (the exchange remembers refusals too), or given up.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

from common.errors import ConfigError, Refusal
from common.fixed import mul_ceil, parse_micros
from common.instruments import Market
from common.messages import Accepted, Deposit, Message, OpenAccount, OpenMarket, QuoteLadder, Refused, SetTick
from common.reasons import Reason
from common.types import ONE
from common.venues.polymarket.contracts import is_position_id
from services.mirror.playback import TICK, Position, RecordedMarket, Track

ACCOUNT = "mirror"
MIN_SIZE = 5_000_000
NS_PER_MS = 1_000_000
FUNDING_FACTOR = 4
"""A loop is funded with this many times the largest ladder: what users take is replaced from it."""
REPAIRS_MAX = 2
"""How often the ladder of one snapshot is sent again after money or tick were repaired."""


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


def fee_rate_of(text: str) -> int:
    """The taker fee rate of the settings in micros. Raises ConfigError naming the key."""
    try:
        rate = parse_micros(text)
    except Refusal as refusal:
        raise ConfigError("mirror.fee_rate", refusal.message) from None
    if not 0 <= rate <= ONE:
        raise ConfigError("mirror.fee_rate", f"{text} is not between 0 and 1")
    return rate


def account_command() -> OpenAccount:
    return OpenAccount(f"{ACCOUNT}:open", ACCOUNT, 0, liquidity=True)


class MarketMirror:
    """One market's conversation with the exchange. `life` differs between two runs of the process."""

    def __init__(self, track: Track, fee_rate: int, life: str) -> None:
        self.track = track
        self.market = market_of(track.market, fee_rate)
        self.counters: Counter[str] = Counter()
        self._opened = False
        self._life = life
        self._ticks = 0
        self._tick: int | None = None
        self._top_ups = 0
        self._funded: set[str] = set()
        self._funded_loop: int | None = None
        self._shown: Position | None = None
        self._acknowledged: Position | None = None
        self._repairs = 0
        self._refused: set[Reason] = set()
        tokens = max(sum(size for _, size in found.asks) for found in track.market.snapshots)
        cash = max(sum(mul_ceil(price, size) for price, size in found.bids) for found in track.market.snapshots)
        needs = {"": cash, self.market.token_ids[0]: tokens}
        self._funding = {asset: need * FUNDING_FACTOR for asset, need in needs.items() if need}

    @property
    def condition_id(self) -> str:
        return self.market.condition_id

    @property
    def shown(self) -> Position | None:
        """The snapshot the exchange has acknowledged last, or was given up for."""
        return self._shown

    @property
    def is_true(self) -> bool:
        """Whether the exchange has acknowledged the snapshot `shown`: it was not given up."""
        return self._acknowledged == self._shown

    @property
    def passed_over(self) -> int:
        """Snapshots the exchange never showed: a later one was due already, or it refused them."""
        return self.counters["snapshots_skipped"] + self.counters["snapshots_refused"]

    @property
    def has_book(self) -> bool:
        """Whether the exchange has acknowledged a ladder."""
        return self.counters["snapshots_played"] > 0

    def next_command(self, now_ns: int) -> Message | None:
        """What to send now; None when everything due was acknowledged."""
        if not self._opened:
            return OpenMarket(f"mirror:{self.condition_id}:open", self.market)
        position = self.track.position(now_ns)
        if position == self._shown:
            return None
        funding = self._next_funding(position.loop)
        if funding is not None:
            return funding
        tick = self.track.tick(position)
        if tick != self._tick:
            return SetTick(f"mirror:{self.condition_id}:tick:{self._life}:{self._ticks}", self.condition_id, tick)
        snapshot = self.track.snapshot(position)
        return QuoteLadder(
            f"mirror:{self.condition_id}:{position.loop}:{position.at}:{self._repairs}",
            ACCOUNT,
            self.condition_id,
            list(snapshot.bids),
            list(snapshot.asks),
        )

    def answered(self, command: Message, answer: Message) -> Refused | None:
        """Note an answer; returns a refusal the operator has not seen of this market yet."""
        self._ticks += isinstance(command, SetTick)
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
                self._note_played(_position_of(command))
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

    def _note_played(self, position: Position) -> None:
        self.counters["snapshots_played"] += 1
        self._acknowledged = position
        self._leave(position)

    def _leave(self, position: Position) -> None:
        """This snapshot is done with. What a clock set back shows again is not skipped twice."""
        if self._shown is not None:
            self.counters["snapshots_skipped"] += max(0, self.track.distance(self._shown, position) - 1)
        self._shown, self._repairs = position, 0

    def _note_refusal(self, command: Message, refused: Refused) -> Refused | None:
        """Repair what can be repaired; what cannot must not stop the snapshots after it."""
        self.counters["refused"] += 1
        match command:
            case QuoteLadder():
                self._ladder_refused(_position_of(command), refused.code)
            case Deposit() if refused.code is not Reason.OVERLOADED:
                self._funded.add(command.asset)  # the same id would be refused again: the ladder tells if it matters
            case _:
                pass  # asked again until it is taken
        first = refused.code not in self._refused
        self._refused.add(refused.code)
        return refused if first else None

    def _ladder_refused(self, position: Position, code: Reason) -> None:
        repairs = self._repairs
        if repairs == REPAIRS_MAX or code not in (Reason.INSUFFICIENT_BALANCE, Reason.BAD_TICK):
            self.counters["snapshots_refused"] += 1
            self._leave(position)
            return
        self._repairs = repairs + 1
        if code is Reason.BAD_TICK:
            self._tick = None
        else:
            self._top_ups += 1
            self._funded = set()


def _position_of(ladder: QuoteLadder) -> Position:
    _, _, loop, at, _ = ladder.command_id.split(":")
    return Position(int(loop), int(at))
