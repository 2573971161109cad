"""One wallet at its venue: may it trade, and what must be asked after its user channel had a gap. Pure.

In: the gateway's readiness, the channel's state, results of list queries. Out: which lists to ask for now. After every
LIVE there are two passes (the channel does not acknowledge a subscription): at once and 5 s later; each asks for open
orders and trades until both came complete. Trading waits for the first pass; an incomplete answer changes nothing.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from common.effects import Now
from common.messages import UserFeedChanged, WalletReady
from common.types import FeedState

PASSES = 2
SECOND_PASS_NS = 5_000_000_000
OVERLAP_NS = 60_000_000_000
"""Trades are asked from this long before the oldest thing in doubt: the venue's clock and seconds are not ours."""
MS = 1_000_000
BACKOFF_MAX_NS = 10_000_000_000


class Ask(StrEnum):
    OPEN_ORDERS = "OPEN_ORDERS"
    TRADES = "TRADES"


def backoff_ns(first_ms: int, tries: int) -> int:
    """first, 2 first, 4 first ... up to ten seconds."""
    return min(first_ms * MS << min(tries, 20), BACKOFF_MAX_NS)


class Wallet(msgspec.Struct, array_like=True, gc=False):
    """Field order is the checkpoint format."""

    venue: str
    name: str
    heard_ns: int
    """Wall time until which the channel is known to have spoken."""
    ready: WalletReady | None = None
    feed: FeedState = FeedState.CONNECTING
    reason: str = "the user channel was never live"
    gap_since_ns: int = 0
    caught_up: bool = False
    passes_left: int = 0
    pending: dict[Ask, str] = {}
    """Lists this pass still needs: "" to ask now, else the action that was sent."""
    next_mono: int = 0
    tries: int = 0
    trades_action: str = ""
    """A query for fills the venue spoke of, outside a pass."""
    trades_mono: int = 0
    trades_tries: int = 0
    trades_since_ns: int = 0
    """Ask for trades from here even if no fill is known to be missing; 0 is no such wish."""

    def on_feed(self, event: UserFeedChanged, now: Now) -> None:
        self.gap_since_ns = self.gap_since_ns or self.heard_ns
        self.heard_ns = max(self.heard_ns, event.at_ns)
        self.feed, self.reason = event.state, event.reason
        self.caught_up = False
        self.passes_left = PASSES if event.state is FeedState.LIVE else 0
        self.tries = 0
        self._begin(now.mono_ns if self.passes_left else 0)

    def _begin(self, mono_ns: int) -> None:
        self.pending = dict.fromkeys(Ask, "") if mono_ns else {}
        self.next_mono = mono_ns

    def wanted(self, now_mono: int) -> list[Ask]:
        """What the running pass has to ask for now."""
        if not self.next_mono or now_mono < self.next_mono:
            return []
        return [ask for ask, action_id in self.pending.items() if not action_id]

    def asked(self, ask: Ask, action_id: str) -> None:
        self.pending[ask] = action_id
        if all(self.pending.values()):
            self.next_mono = 0

    def answered(self, ask: Ask, action_id: str, complete: bool, now: Now, first_ms: int) -> None:
        """A list came. One that belongs to an earlier pass or a trade check does not count for this pass."""
        if self.trades_action == action_id:
            self.trades_action = ""
            if complete:
                self.trades_since_ns = 0
            elif self.trades_since_ns:
                self.want_trades(now.mono_ns, first_ms)
        if self.pending.get(ask) != action_id:
            return
        if not complete:
            self.pending[ask] = ""
            self.next_mono = now.mono_ns + backoff_ns(first_ms, self.tries)
            self.tries += 1
            return
        del self.pending[ask]
        if not self.pending:
            self._complete_pass(now)

    def _complete_pass(self, now: Now) -> None:
        self.caught_up = True
        self.tries = 0
        self.passes_left -= 1
        if self.passes_left:
            self._begin(now.mono_ns + SECOND_PASS_NS)
        else:
            self.gap_since_ns = 0
            self.next_mono = 0

    def want_trades(self, now_mono: int, first_ms: int) -> None:
        """The venue spoke of fills we do not have: ask for trades unless they come first."""
        if not self.trades_action and not self.trades_mono:
            self.trades_mono = now_mono + backoff_ns(first_ms, self.trades_tries)

    def want_trades_since(self, since_ns: int, now_mono: int, first_ms: int) -> None:
        """An order went away without a word: whatever it matched since then must be asked for."""
        self.trades_since_ns = min(self.trades_since_ns or since_ns, since_ns)
        self.want_trades(now_mono, first_ms)

    def trades_due(self, now_mono: int) -> bool:
        return bool(self.trades_mono) and self.trades_mono <= now_mono

    def trades_asked(self, action_id: str) -> None:
        self.trades_action, self.trades_mono = action_id, 0
        self.trades_tries += 1

    def next_due(self) -> int | None:
        return min((mono for mono in (self.next_mono, self.trades_mono) if mono), default=None)
