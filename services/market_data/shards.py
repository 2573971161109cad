"""Which connection carries which tokens: at most 200 a connection (protocol section 5.1). Pure.

In: the token pairs to follow. Out: what to add to and remove from each connection. Both tokens of a market stay on one
connection, and a token never moves; an empty place is used again.
"""

from __future__ import annotations

from typing import NamedTuple

TOKENS_MAX = 200


class Change(NamedTuple):
    shard: int
    added: list[str]
    removed: list[str]


class Shards:
    def __init__(self, tokens_max: int = TOKENS_MAX) -> None:
        self._tokens_max = tokens_max
        self._shards: list[dict[str, None]] = []
        self._shard_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._shards)

    def tokens(self, shard: int) -> list[str]:
        return list(self._shards[shard])

    def follow(self, pairs: list[tuple[str, str]]) -> list[Change]:
        """Make the followed tokens exactly these pairs."""
        wanted = {token_id for pair in pairs for token_id in pair}
        changes: dict[int, Change] = {}
        for token_id in [token_id for token_id in self._shard_of if token_id not in wanted]:
            shard = self._shard_of.pop(token_id)
            del self._shards[shard][token_id]
            changes.setdefault(shard, Change(shard, [], [])).removed.append(token_id)
        for pair in pairs:
            if pair[0] not in self._shard_of:
                shard = self._with_room()
                for token_id in pair:
                    self._shards[shard][token_id] = None
                    self._shard_of[token_id] = shard
                    changes.setdefault(shard, Change(shard, [], [])).added.append(token_id)
        return [changes[shard] for shard in sorted(changes)]

    def _with_room(self) -> int:
        for shard, tokens in enumerate(self._shards):
            if len(tokens) + 2 <= self._tokens_max:
                return shard
        self._shards.append({})
        return len(self._shards) - 1
