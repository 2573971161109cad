"""What market_data's core asks of its shell, besides publishing. Data only."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from common.effects import Log, Publish


class FetchBooks(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Fetch whole books by REST; what came of it goes to `fetched` with this request, also when nothing did."""

    token_ids: tuple[str, ...]
    asked_mono_ns: int


class Move(msgspec.Struct, frozen=True, gc=False, tag=True):
    """This connection is silent about the token: ask another one for it."""

    token_id: str
    connection: int


class Keep(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The connection that was to take over never brought the token's book: it stays on this one."""

    token_id: str
    connection: int


class Drop(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Cut a connection that cannot be trusted."""

    connection: int
    reason: str


Effect: TypeAlias = Publish | Log | FetchBooks | Move | Keep | Drop
