"""The tokens a venue's feeds are kept for, and what readers are told of them, whoever changes the books. Pure.

In: tokens to follow, changes noted in a TokenFeed, causes of the state machine, time. Out: effects, taken with `take`:
deltas and tops at once, depth conflated, and every change of a state. It holds no opinion on what to trust.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from common.effects import Now, Publish
from common.types import FeedState
from services.market_data.effects import Effect
from services.market_data.token import TokenFeed
from services.market_data.trust import Cause, after

FEEDS = "feeds"
LIVE = FeedState.LIVE


class Tokens:
    """`epoch` is where the tokens' epochs begin: above those of every earlier process. `news` is what `take` gives."""

    def __init__(self, epoch: int, depth_levels: int, depth_every_ns: int) -> None:
        self.depth_levels = depth_levels
        self.news: list[Effect] = []
        self._epoch = epoch
        self._tokens: dict[str, TokenFeed] = {}
        self._dirty: list[TokenFeed] = []
        """Tokens with changes to be published."""
        self._depth_every_ns = depth_every_ns
        self._depth_due: dict[TokenFeed, None] = {}
        self._depth_mono_ns = 0

    def __getitem__(self, token_id: str) -> TokenFeed:
        return self._tokens[token_id]

    def get(self, token_id: str) -> TokenFeed | None:
        return self._tokens.get(token_id)

    def __iter__(self) -> Iterator[TokenFeed]:
        return iter(self._tokens.values())

    def take(self) -> list[Effect]:
        """Everything decided since the last call, in order."""
        out, self.news = self.news, []
        return out

    # --- which tokens ---

    def follow(self, token_id: str, tick: int, now: Now) -> None:
        """A token of a market that is wanted; one that had ended is opened again."""
        token = self._tokens.get(token_id)
        if token is None:
            self._tokens[token_id] = TokenFeed(token_id, tick, self._epoch)
            return
        token.tick = tick
        self._step(token, Cause.FOLLOWED, "not asked for yet", now)

    def end(self, token_ids: Sequence[str], reason: str, now: Now) -> None:
        for token in self._known(token_ids):
            self._step(token, Cause.ENDED, reason, now)

    def forget(self, token_ids: Iterable[str]) -> None:
        for token_id in token_ids:
            token = self._tokens.pop(token_id, None)
            if token is not None:
                self._depth_due.pop(token, None)
                self._epoch = max(self._epoch, token.epoch)  # should it ever come back

    def _known(self, token_ids: Iterable[str]) -> list[TokenFeed]:
        return [self._tokens[token_id] for token_id in token_ids if token_id in self._tokens]

    # --- what is said of them ---

    def flush(self, now: Now) -> None:
        """Publish what came since the last call: one delta a token, and its top when that changed."""
        for token in self._dirty:
            token.is_dirty = False
            token.received_ns, token.heard_mono_ns = now.wall_ns, now.mono_ns
            if token.changed_bids or token.changed_asks:
                token.seq += 1
                self.news.append(Publish(token.book_topic, token.delta(now.wall_ns)))
                token.forget_changes()
                self._publish_top(token)
                self._depth_due[token] = None
        self._dirty.clear()

    def _confirm(self, token: TokenFeed, now: Now) -> None:
        """Readers learn that a quiet book is as good as new: a version without changes."""
        if not token.is_dirty:
            token.seq += 1
            token.received_ns = now.wall_ns
            self.news.append(Publish(token.book_topic, token.delta(now.wall_ns)))

    def _publish_top(self, token: TokenFeed) -> None:
        best = token.best()
        if best != token.last_top:
            token.last_top = best
            self.news.append(Publish(token.top_topic, token.top()))

    def _publish_depth(self, now: Now) -> None:
        if now.mono_ns - self._depth_mono_ns < self._depth_every_ns:
            return
        self._depth_mono_ns = now.mono_ns
        due, self._depth_due = self._depth_due, {}
        for token in due:
            depth = token.depth(self.depth_levels)
            shown = (depth.bids, depth.asks, depth.whole_bids, depth.whole_asks, depth.tick, depth.state, depth.epoch)
            if shown != token.last_depth:
                token.last_depth = shown
                self.news.append(Publish(token.depth_topic, depth))

    def _touch(self, token: TokenFeed) -> None:
        if not token.is_dirty:
            token.is_dirty = True
            self._dirty.append(token)

    def _step(self, token: TokenFeed, cause: Cause, reason: str, now: Now) -> bool:
        """Follow the table; whoever reads the token learns of every change of its state."""
        following = after(token.state, cause)
        if following is None:
            return False
        token.forget_changes()
        token.state, token.reason = following, reason[:200]
        token.settle_plain()
        if following is LIVE:
            self._publish_top(token)
        elif token.last_top is not None:
            token.last_top = None
            self.news.append(Publish(token.top_topic, token.top()))
        status = token.status(now.wall_ns)
        self.news += [
            Publish(token.book_topic, token.snapshot()),
            Publish(token.feed_topic, status),
            Publish(FEEDS, status),
        ]
        self._depth_due[token] = None
        return True
