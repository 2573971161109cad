"""Which connection carries which tokens, and when a connection is replaced. Pure.

In: the token pairs to follow, tokens that are silent where they are, connections opened and lost, time. Out: orders
for the shell. Both tokens of a market start on one connection; a connection that grows old is replaced by one that
carries the same tokens before it is closed, one at a time. Connections are numbered and no number comes again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

CONNECTIONS_MAX = 500
"""Above this a silent token is not given a connection of its own any more."""


class Open(NamedTuple):
    """Dial a new connection and ask it for these tokens."""

    connection: int
    token_ids: list[str]


class Add(NamedTuple):
    """Ask an open connection for more tokens; one that is being dialled asks for all of its own when it opens."""

    connection: int
    token_ids: list[str]


class Remove(NamedTuple):
    connection: int
    token_ids: list[str]


class Close(NamedTuple):
    connection: int


Order: TypeAlias = Open | Add | Remove | Close


class _Line:
    """One connection: its tokens, since when it is open (None: it is not), and whether another one replaces it."""

    __slots__ = ("is_retiring", "since_ns", "tokens")

    def __init__(self, token_ids: Iterable[str] = ()) -> None:
        self.tokens = dict.fromkeys(token_ids)
        self.since_ns: int | None = None
        self.is_retiring = False


class Pool:
    """All connections of the market channel."""

    def __init__(self, tokens_max: int, rotate_after_ns: int) -> None:
        self._tokens_max = tokens_max
        self._rotate_after_ns = rotate_after_ns
        self._lines: dict[int, _Line] = {}
        self._home: dict[str, int] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._lines)

    def tokens(self, connection: int) -> list[str]:
        line = self._lines.get(connection)
        return [] if line is None else list(line.tokens)

    def opened(self, connection: int, mono_ns: int) -> None:
        self._lines[connection].since_ns = mono_ns

    def lost(self, connection: int) -> list[Order]:
        """A connection that was being replaced is not dialled again, but for tokens that were kept on it."""
        line = self._lines.get(connection)
        if line is None:
            return []
        line.since_ns = None
        if not line.is_retiring:
            return []
        line.tokens = dict.fromkeys(self._kept(connection))
        line.is_retiring = False
        return [] if line.tokens else self._close(connection)

    def _kept(self, connection: int) -> list[str]:
        """The tokens whose home a connection is: of one that is being replaced, those the new one did not bring."""
        return [token_id for token_id in self._lines[connection].tokens if self._home[token_id] == connection]

    # --- what is followed ---

    def follow(self, pairs: Sequence[tuple[str, ...]]) -> list[Order]:
        """Make the followed tokens exactly these pairs."""
        wanted = {token_id for pair in pairs for token_id in pair}
        orders = self._remove([token_id for token_id in self._home if token_id not in wanted])
        added: dict[int, list[str]] = {}
        fresh: set[int] = set()
        for pair in pairs:
            missing = [token_id for token_id in pair if token_id not in self._home]
            if missing:
                connection = self._with_room(len(missing))
                if connection is None:
                    connection = self._new()
                    fresh.add(connection)
                self._put(connection, missing)
                added.setdefault(connection, []).extend(missing)
        return orders + [(Open if n in fresh else Add)(n, tokens) for n, tokens in added.items()]

    def move(self, token_id: str, away_from: int) -> list[Order]:
        """Carry a silent token elsewhere; nothing when it is elsewhere already."""
        if self._home.get(token_id) != away_from:
            return []
        target = self._with_room(1, not_on=away_from)
        if target is None and len(self._lines) >= CONNECTIONS_MAX:
            return []
        orders = self._remove([token_id])
        if target is not None and target in self._lines:
            self._put(target, [token_id])
            return [*orders, Add(target, [token_id])]
        target = self._new()
        self._put(target, [token_id])
        return [*orders, Open(target, [token_id])]

    def _remove(self, token_ids: Iterable[str]) -> list[Order]:
        """Take tokens off every connection that carries them; one that carries nothing is closed."""
        gone = set(token_ids)
        orders: list[Order] = []
        for connection, line in list(self._lines.items()):
            carried = [token_id for token_id in line.tokens if token_id in gone]
            for token_id in carried:
                del line.tokens[token_id]
            if carried and not line.tokens:
                orders += self._close(connection)
            elif carried:
                orders.append(Remove(connection, carried))
        for token_id in gone:
            del self._home[token_id]
        return orders

    # --- age ---

    def rotate(self, mono_ns: int, sources: Mapping[int, Collection[str]]) -> list[Order]:
        """Finish the replacement that is under way once nothing depends on the old connection, or begin the next.

        `sources` tells the tokens whose books go by each connection's events.
        """
        retiring = [connection for connection, line in self._lines.items() if line.is_retiring]
        if retiring:
            return [order for old in retiring for order in self._finish(old, set(sources.get(old, ())), mono_ns)]
        for line in self._lines.values():
            if line.since_ns is not None and mono_ns - line.since_ns >= self._rotate_after_ns:
                line.is_retiring = True
                heir = self._new()
                self._put(heir, line.tokens)
                return [Open(heir, list(line.tokens))]
        return []

    def _finish(self, old: int, served: set[str], mono_ns: int) -> list[Order]:
        line, kept = self._lines[old], self._kept(old)
        if not served.issubset(kept):
            return []
        if not kept:
            return self._close(old)
        others = [token_id for token_id in line.tokens if token_id not in kept]
        line.is_retiring, line.since_ns, line.tokens = False, mono_ns, dict.fromkeys(kept)
        return [Remove(old, others)] if others else []

    def keep(self, token_id: str, connection: int) -> list[Order]:
        """The new connection does not bring this token's book: it stays where it is, with the old one."""
        heir = self._home.get(token_id)
        line = self._lines.get(connection)
        if heir is None or heir == connection or line is None or token_id not in line.tokens:
            return []
        self._home[token_id] = connection
        del self._lines[heir].tokens[token_id]
        return [Remove(heir, [token_id])] if self._lines[heir].tokens else self._close(heir)

    def _new(self) -> int:
        self._last += 1
        self._lines[self._last] = _Line()
        return self._last

    def _put(self, connection: int, token_ids: Iterable[str]) -> None:
        for token_id in token_ids:
            self._lines[connection].tokens[token_id] = None
            self._home[token_id] = connection

    def _close(self, connection: int) -> list[Order]:
        del self._lines[connection]
        return [Close(connection)]

    def _with_room(self, count: int, not_on: int = 0) -> int | None:
        for connection, line in self._lines.items():
            has_room = len(line.tokens) + count <= self._tokens_max
            if has_room and not line.is_retiring and connection != not_on:
                return connection
        return None
