"""The executor's whole state as canonical bytes, and back. Pure.

In: a desk. Out: msgpack of plain structs; equal states give equal bytes, and a desk loaded from bytes behaves as the
one that was dumped. Indexes are not stored but built again.
"""

from __future__ import annotations

import msgspec

from common.instruments import Market
from common.messages import Fill, Mark
from services.executor.actions import Action, Actions
from services.executor.cash import Purse, Purses
from services.executor.catchup import Wallet
from services.executor.config import Config
from services.executor.desk import Desk
from services.executor.external import External
from services.executor.fences import Fence, Fences, Tombstone
from services.executor.idempotency import Answer, Answers, ClientId, ClientIds
from services.executor.markets import Markets
from services.executor.oms import Oms
from services.executor.order import Order
from services.executor.positions import Holding, Positions
from services.executor.reconcile import Reconciler, Rounds
from services.executor.sweep import Sweeps
from services.executor.trading import Standing, Trading
from services.executor.valuation import Valuation
from services.executor.wallets import apply_settings

VERSION = 1


class ExecutorState(msgspec.Struct, array_like=True, gc=False):
    """Field order is the format; new fields go at the end with a default."""

    version: int
    config: Config
    account_seq: int
    last_order: int
    last_action: int
    counts: dict[str, int]
    wallets: list[Wallet]
    markets: list[Market]
    orders: list[Order]
    done: list[int]
    actions: list[Action]
    client_ids: list[tuple[str, str, ClientId]]
    answers: list[tuple[str, str, Answer]]
    fences: list[Fence]
    tombstones: list[Tombstone]
    holdings: list[tuple[str, str, Holding]]
    external: list[Fill]
    recent_fills: list[tuple[str, str]]
    standings: list[Standing] = []
    purses: list[Purse] = []
    marks: list[Mark] = []
    rounds: list[Rounds] = []
    venue_modes: dict[str, tuple[str, str]] = {}
    sweeps: Sweeps = msgspec.field(default_factory=Sweeps)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ExecutorState)


def dump_state(desk: Desk) -> bytes:
    return _encoder.encode(
        ExecutorState(
            version=VERSION,
            config=desk.config,
            account_seq=desk.account_seq,
            last_order=desk.last_order,
            last_action=desk.actions.last,
            counts=dict(sorted(desk.counts.items())),
            wallets=list(desk.wallets.values()),
            markets=desk.markets.all(),
            orders=desk.oms.rows(),
            done=desk.oms.done(),
            actions=desk.actions.rows(),
            client_ids=desk.ids.rows(),
            answers=desk.answers.rows(),
            fences=desk.fences.fences(),
            tombstones=desk.fences.tombstones(),
            holdings=desk.positions.rows(),
            external=desk.external.fills(),
            recent_fills=desk.external.recent_keys(),
            standings=desk.trading.rows(),
            purses=desk.purses.rows(),
            marks=desk.valuation.rows(),
            rounds=desk.reconciler.rows(),
            venue_modes=dict(sorted(desk.venue_modes.items())),
            sweeps=desk.sweeps,
        )
    )


def load_state(data: bytes) -> Desk:
    """Raises msgspec.DecodeError for bytes that are no such state."""
    state = _decoder.decode(data)
    if state.version != VERSION:
        raise msgspec.DecodeError(f"executor state of version {state.version}, not {VERSION}")
    desk = Desk()
    desk.config = state.config
    desk.account_seq, desk.last_order = state.account_seq, state.last_order
    desk.counts = state.counts
    desk.wallets = {(wallet.venue, wallet.name): wallet for wallet in state.wallets}
    desk.markets = Markets(state.markets)
    for order in state.orders:
        if not order.matched and (order.fills or order.reported):  # of a checkpoint that did not keep the sums
            order.told = sum(fill.size for fill in order.fills.values())
            order.matched = max(order.told, order.reported)
    desk.oms = Oms(state.orders, state.done)
    desk.actions = Actions(state.last_action, state.actions)
    desk.ids = ClientIds(state.config.execution.idempotency_max, state.client_ids)
    desk.answers = Answers(state.answers)
    desk.fences = Fences(state.fences, state.tombstones)
    desk.positions = Positions(state.holdings)
    desk.external = External(state.external, state.recent_fills)
    desk.trading = Trading(state.standings)
    desk.purses = Purses(state.purses)
    desk.valuation = Valuation(state.marks)
    desk.reconciler = Reconciler(state.rounds)
    desk.venue_modes = state.venue_modes
    desk.sweeps = state.sweeps
    apply_settings(desk)
    for order in (*desk.oms.open_orders(), *desk.oms.unsettled()):
        desk.commitments.put(order, desk.markets)
    return desk
