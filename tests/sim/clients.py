"""Clients: each has intents, asks for them until answered, repeats, cancels, changes its mind and sometimes crashes.

Two kinds: *askers* send commands as asks (no order, repeated under the same id until answered, as the CLI does);
*liners* send on a pair of lanes (in order, cancels overtake and carry `covers`, as a gateway of client sessions does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from common.frames import Ack, Data, Epoch
from common.lanes import LaneSender
from common.messages import (
    CancelAccepted,
    CancelAll,
    CancelOrder,
    Halt,
    Message,
    PlaceAnswer,
    PlaceOrder,
    Reconcile,
    Refused,
    ReplaceOrder,
    Resume,
    encode,
)
from common.reasons import Reason
from common.types import OrderType, Side, TimeInForce
from services.executor.order import State
from tests.services.executor.driver import MARKET
from tests.sim.checkers import Checker, Intent
from tests.sim.clock import MS, S
from tests.sim.processes import ACCOUNTS, Heart
from tests.sim.world import World

LATER = frozenset({Reason.FEED_GAP, Reason.WALLET_NOT_READY, Reason.OVERLOADED, Reason.HALTED, Reason.REDUCE_ONLY})
"""Refusals that a client tries again after, under a new command id."""
TRIES_MAX = 6
BAN_WITHIN_NS = 20 * S
"""A tombstone lives request_life_ms from when it was made, which is later than when its cancel was first sent."""
CANCEL_TARGETS_GTD = 0.5


class Want(msgspec.Struct):
    """One intent and what the client knows of it."""

    place: PlaceOrder | ReplaceOrder
    key: Intent
    order_id: str = ""
    venue_order_id: str = ""
    accepted_ns: int = -1
    stopped: bool = False
    """A cancel of it was sent: it is never asked for anew."""
    forgotten: bool = False
    """A cancel of it was answered: it is not asked for at all any more."""
    tries: int = 1
    last_seq: int = 0


Command: TypeAlias = PlaceOrder | ReplaceOrder | CancelOrder | CancelAll | Halt | Resume | Reconcile
OVERTAKES = (CancelOrder, CancelAll, Halt, Resume)
"""Commands that travel with cancels."""


class Asked(msgspec.Struct):
    """One command on its way."""

    command: Command
    want: Want | None
    sent_ns: int
    covers: int = 0
    conflicts: bool = False
    answer: Message | None = None


class Client:
    def __init__(self, world: World, heart: Heart, checker: Checker, number: int) -> None:
        self.name = f"client-{number}"
        self.account = ACCOUNTS[number % len(ACCOUNTS)]
        self.is_liner = number % 2 == 0
        self.wants: list[Want] = []
        self._world = world
        self._rng = world.rng
        self._heart = heart
        self._checker = checker
        self._commands = 0
        self._replaced = 0
        self._asked: dict[str, Asked] = {}
        self._open: dict[str, None] = {}
        self._life = 0
        self._new_life()

    def idle(self) -> bool:
        return not self._open

    # --- what it wants ---

    def plan(self, intents: int, span_ns: int) -> None:
        """Everything it will do by itself, drawn once."""
        for number in range(intents):
            at_ns = self._rng.randrange(S, span_ns)
            want = self._draw(number)
            self._later(at_ns, self._place, want)
            if self._rng.random() < 0.45:
                overtakes = self._rng.random() < 0.4
                self._later(at_ns + self._rng.randrange(1, 20 * MS if overtakes else 12 * S), self._cancel, want)
            for _ in range(self._rng.choice((0, 0, 0, 1, 2))):
                self._later(at_ns + self._rng.randrange(1, 6 * S), self._repeat, want)
            if self._rng.random() < 0.15:
                self._later(at_ns + self._rng.randrange(S, 6 * S), self._contradict, want)
            if self._rng.random() < 0.2:
                self._later(at_ns + self._rng.randrange(S // 10, 8 * S), self._replace, want)
        for _ in range(self._rng.choice((0, 0, 1, 2))):
            self._later(self._rng.randrange(S, span_ns), self.cancel_all)
        if crash_ns := self._world.faults.next_in("client_crash"):
            self._later(crash_ns, self._crash)

    def _later(self, at_ns: int, what: Callable[..., None], *args: object) -> None:
        self._world.loop.at(at_ns, what, *args)

    def _draw(self, number: int) -> Want:
        rng = self._rng
        tif = rng.choices((TimeInForce.GTC, TimeInForce.GTD, TimeInForce.FAK, TimeInForce.FOK), (5, 1, 2, 2))[0]
        side = Side.BUY if rng.random() < 0.7 else Side.SELL
        client_order_id = f"{self.name}.{number}" if rng.random() < 0.9 else ""
        command_id = self._next_command_id()
        place = PlaceOrder(
            command_id,
            self.account,
            client_order_id,
            "polymarket",
            MARKET.slug,
            rng.choice(MARKET.outcomes),
            side,
            OrderType.LIMIT,
            tif,
            tif.rests and rng.random() < 0.2,
            rng.randrange(30, 70) * MARKET.tick,
            rng.randrange(500, 4000) * 10_000,
        )
        return Want(place, (self.account, client_order_id) if client_order_id else (self.name, command_id))

    # --- what it asks for ---

    def _place(self, want: Want) -> None:
        """Times that are relative to the first asking are fixed then: a repeat is the same command."""
        assert isinstance(want.place, PlaceOrder)
        changes: dict[str, int] = {}
        if want.place.tif is TimeInForce.GTD:
            changes["expire_ns"] = self._world.wall_ns() + self._rng.randrange(182, 200) * S
        if self._rng.random() < 0.15:
            changes["deadline_ns"] = self._world.wall_ns() + self._rng.randrange(200, 3000) * MS
        want.place = msgspec.structs.replace(want.place, **changes)
        self.wants.append(want)
        self._ask(want.place, want)

    def _replace(self, old: Want) -> None:
        """A successor at another price; both together may fill as much as before, or a little else."""
        if not old.order_id or old.stopped or isinstance(old.place, ReplaceOrder):
            return
        self._replaced += 1
        command = ReplaceOrder(
            self._next_command_id(),
            self.account,
            old.order_id,
            f"{self.name}.r{self._replaced}",
            self._rng.randrange(30, 70) * MARKET.tick,
            max(5_000_000, old.place.size + self._rng.choice((-1_000_000, 0, 2_000_000))),
        )
        want = Want(command, (self.account, command.client_order_id))
        self.wants.append(want)
        self._ask(command, want)

    # --- the operator ---

    def plan_operator(self, span_ns: int) -> None:
        """One client is the operator too: halts, resumes, reconciles, and cancels everything of everybody."""
        for _ in range(self._rng.choice((0, 0, 1, 2))):
            at_ns = self._rng.randrange(S, span_ns)
            account = self.account if self._rng.random() < 0.3 else ""
            reduce_only = self._rng.random() < 0.2
            self._later(at_ns, self._halt, account, reduce_only)
            self._later(at_ns + self._rng.randrange(S, 5 * S), self.resume, account)
        for _ in range(self._rng.choice((0, 1, 2))):
            self._later(self._rng.randrange(S, span_ns), self._cancel_everything)

    def _halt(self, account: str, reduce_only: bool) -> None:
        self._ask(Halt(self._next_command_id(), "the operator wants quiet", account, reduce_only), None)

    def _cancel_everything(self) -> None:
        """Also what others placed: they may place again at once."""
        market = MARKET.slug if self._rng.random() < 0.3 else ""
        self._ask(CancelAll(self._next_command_id(), "", market), None)

    def resume(self, account: str = "") -> None:
        self._ask(Resume(self._next_command_id(), account), None)

    def reconcile(self) -> None:
        self._ask(Reconcile(self._next_command_id()), None)

    # --- again ---

    def _again(self, want: Want) -> None:
        """The same intent under a new command id."""
        if not want.stopped and want.place.client_order_id:
            want.tries += 1
            self._ask(msgspec.structs.replace(want.place, command_id=self._next_command_id()), want)

    def _repeat(self, want: Want) -> None:
        known = self._asked.get(want.place.command_id)
        if known is not None and not want.stopped and self._rng.random() < 0.5:
            self._send(known)
        elif known is not None:
            self._again(want)

    def _contradict(self, want: Want) -> None:
        """Other content under an id that is taken."""
        if isinstance(want.place, PlaceOrder) and want.place.client_order_id and want.order_id:
            other = msgspec.structs.replace(
                want.place, command_id=self._next_command_id(), size=want.place.size + 10_000
            )
            self._ask(other, want, conflicts=True)

    def _cancel(self, want: Want) -> None:
        target = want.place.client_order_id or want.order_id
        if target and want in self.wants:
            if self._rng.random() < 0.5 and want.order_id:
                target = self._rng.choice((want.order_id, want.venue_order_id or want.order_id))
            want.stopped = True
            self._ask(CancelOrder(self._next_command_id(), self.account, target), want)

    def cancel_all(self) -> None:
        for want in self.wants:
            want.stopped = True
        market = MARKET.slug if self._rng.random() < 0.5 else ""
        self._ask(CancelAll(self._next_command_id(), self.account, market), None)

    def cancel_some(self) -> None:
        """Everything that is open but GTD orders, one by one."""
        for order in self._heart.core.desk.oms.open_orders():
            if order.account == self.account and order.tif is not TimeInForce.GTD and order.state is not State.REJECTED:
                self._ask(CancelOrder(self._next_command_id(), self.account, order.order_id), None)

    def _next_command_id(self) -> str:
        self._commands += 1
        return f"{self.name}:{self._commands}"

    # --- sending ---

    def _ask(self, command: Command, want: Want | None, *, conflicts: bool = False) -> None:
        asked = Asked(command, want, self._world.loop.now_ns, conflicts=conflicts)
        self._asked[command.command_id] = asked
        self._open[command.command_id] = None
        self._send(asked)

    def _send(self, asked: Asked) -> None:
        life = self._life
        if self.is_liner:
            self._send_on_lane(asked)
        else:
            delay_ns = self._link_delay()
            if delay_ns:
                epoch = self._heart.epoch
                self._world.loop.after(delay_ns, self._arrive, asked.command, epoch)
        pause_ns = self._world.faults.between(2 * S, 3 * S) if self.is_liner else self._world.faults.between(S // 5, S)
        self._world.loop.after(pause_ns, self._send_again, asked, life)

    def _send_again(self, asked: Asked, life: int) -> None:
        if life != self._life or asked.command.command_id not in self._open:
            return
        want = asked.want
        if isinstance(asked.command, PlaceOrder | ReplaceOrder) and want is not None and want.forgotten:
            del self._open[asked.command.command_id]
            return
        self._send(asked)

    def _link_delay(self) -> int:
        """0 when it gets lost."""
        faults = self._world.faults
        if faults.happens("reply_lost"):
            return 0
        return faults.between(S // 10, 2 * S) if faults.happens("http_slow") else faults.between(MS // 5, 20 * MS)

    def _arrive(self, command: Message, epoch: Epoch) -> None:
        heart = self._heart
        if heart.alive and heart.epoch == epoch:
            heart.port.ask(command, self.name, cancel=isinstance(command, OVERTAKES))
            heart.wake()

    # --- lanes ---

    def _new_life(self) -> None:
        self._life += 1
        epoch = Epoch("", self._life)
        self._lanes = {
            name: LaneSender(name, self.name, epoch, limit=1000, by_result=False)
            for name in ("client_commands", "client_cancels")
        }
        self._arrives_ns = dict.fromkeys(self._lanes, 0)
        self._pumping = False
        for lane in self._lanes.values():
            lane.on_hello(self._heart.epoch)

    def on_executor_started(self, epoch: Epoch) -> None:
        for lane in self._lanes.values():
            lane.on_hello(epoch)
        self._pump()

    def _send_on_lane(self, asked: Asked) -> None:
        normal = self._lanes["client_commands"]
        body = encode(asked.command)
        if not isinstance(asked.command, OVERTAKES):
            normal.offer(f"{normal.last}", body)
            if asked.want is not None:
                asked.want.last_seq = normal.last
        else:
            asked.covers = asked.covers or normal.last
            cancels = self._lanes["client_cancels"]
            cancels.offer(f"{cancels.last}", body, covers=asked.covers)
        self._pump()

    def _pump(self) -> None:
        now_ns = self._world.loop.now_ns
        for name, lane in self._lanes.items():
            for frame in lane.due(now_ns):
                delay_ns = self._link_delay()
                if delay_ns:
                    # One connection: frames of a lane stay in order.
                    self._arrives_ns[name] = max(now_ns + delay_ns, self._arrives_ns[name] + 1)
                    self._world.loop.at(self._arrives_ns[name], self._frame_arrives, frame)
        if not self._pumping and any(lane.unacknowledged for lane in self._lanes.values()):
            self._pumping = True
            self._world.loop.after(100 * MS, self._pump_again, self._life)

    def _pump_again(self, life: int) -> None:
        if life == self._life:
            self._pumping = False
            self._pump()

    def _frame_arrives(self, frame: Data) -> None:
        heart = self._heart
        if not heart.alive or frame.to != heart.epoch:
            return
        nack = heart.port.take_frame(frame)
        if nack is None:
            heart.wake()
        else:
            self._lanes[frame.lane].on_nack(nack)

    def on_ack(self, ack: Ack) -> None:
        if delay_ns := self._link_delay():
            self._world.loop.after(delay_ns, self._lanes[ack.lane].on_ack, ack)

    # --- answers ---

    def hear(self, answer: Message) -> None:
        """The executor replies; it may get lost, and may come late."""
        if delay_ns := self._link_delay():
            self._world.loop.after(delay_ns, self._on_answer, answer)

    def _on_answer(self, answer: Message) -> None:
        asked = self._asked.get(getattr(answer, "command_id", ""))
        if asked is None:
            return
        if asked.answer is not None:
            self._same_answer(asked, asked.answer, answer)
        first, asked.answer = asked.answer is None, answer
        self._open.pop(asked.command.command_id, None)
        if isinstance(asked.command, PlaceOrder | ReplaceOrder):
            self._on_place_answer(asked, answer, first)
        elif first:
            self._on_cancel_answer(asked, answer)

    def _same_answer(self, asked: Asked, before: Message, answer: Message) -> None:
        same = type(before) is type(answer)
        if isinstance(before, Refused) and isinstance(answer, Refused):
            same = before.code is answer.code
        elif isinstance(before, CancelAccepted) and isinstance(answer, CancelAccepted):
            same = before.order_ids == answer.order_ids
        if not same:
            self._world.violate(f"{asked.command.command_id} was answered {before} and then {answer}")

    def _on_place_answer(self, asked: Asked, answer: Message, first: bool) -> None:
        want = asked.want
        assert want is not None
        if isinstance(answer, PlaceAnswer):
            if asked.conflicts:
                self._world.violate(f"{want.key}: other content under the same id was taken")
            ids = (answer.order.order_id, answer.order.venue_order_id)
            signed_before = want.venue_order_id and ids[1] and ids[1] != want.venue_order_id
            if want.order_id and (ids[0] != want.order_id or signed_before):
                self._world.violate(f"{want.key} was answered with {want.order_id} and with {ids[0]}")
            want.order_id, want.venue_order_id = ids[0], ids[1] or want.venue_order_id
            if want.accepted_ns < 0:
                want.accepted_ns = self._world.loop.now_ns
        elif isinstance(answer, Refused) and not asked.conflicts:
            if 0 <= want.accepted_ns < asked.sent_ns:
                self._world.violate(f"{want.key} was taken as {want.order_id} and is now refused {answer.code}")
            if first and answer.code in LATER and want.tries < TRIES_MAX:
                self._world.loop.after(self._world.faults.between(S, 4 * S), self._again, want)

    def _on_cancel_answer(self, asked: Asked, answer: Message) -> None:
        command, want = asked.command, asked.want
        if isinstance(command, CancelAll):
            if isinstance(answer, CancelAccepted):
                for known in self.wants:
                    if self.is_liner and known.last_seq <= asked.covers and known.stopped:
                        known.forgotten = True
                        self._checker.ban(known.key, unless_known=True)
        elif isinstance(command, CancelOrder) and want is not None:
            want.forgotten = True
            in_time = self._world.loop.now_ns - asked.sent_ns < BAN_WITHIN_NS
            overtook = isinstance(answer, Refused) and answer.code is Reason.ORDER_NOT_FOUND
            if overtook and (in_time or self.is_liner) and command.order_id == want.place.client_order_id:
                self._checker.ban(want.key)

    # --- crash ---

    def _crash(self) -> None:
        """It forgets what is on its way, and asks for what it still wants under new command ids."""
        if not self._world.faults.on:
            return
        self._world.trace(self.name, "crashes")
        open_ids, self._open = list(self._open), {}
        self._new_life()
        for command_id in open_ids:
            asked = self._asked[command_id]
            command = asked.command
            if isinstance(command, PlaceOrder | ReplaceOrder):
                if asked.want is not None and not asked.conflicts:
                    self._again(asked.want)
            else:
                self._ask(msgspec.structs.replace(command, command_id=self._next_command_id()), asked.want)
