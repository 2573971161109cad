"""The shell of a heart: bus, journal, checkpoints and clocks around a pure core; one synchronous loop.

One step: read the clocks once, drain a bounded batch, handle each input, append one journal record, one sync, perform
the effects in order. Nothing leaves before what caused it is durable. Start is always the same: load the checkpoint,
replay the journal, resend what is outstanding (crash-only). It knows no business word.
"""

from __future__ import annotations

import hashlib
import os
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from common.bus import Bus, ZmqBus
from common.checkpoint import fork_checkpoint, load_checkpoint, reap, write_checkpoint
from common.effects import Core, Effect, Log, Mark, Now, Origin, Publish, Reply, Send, Settle, Sight, WindDown
from common.errors import JournalError
from common.frames import Epoch
from common.halt import HaltMarker
from common.journal import Journal, journal_id_of
from common.messages import Configured, HaltFound, Message, Refused, TimerFired, decode
from common.peer import Item, Peer, request_id_in
from common.process import StopSignal, freeze_collector
from common.reasons import Reason
from common.settings import Settings
from common.step import Step, decode_step, replay
from common.telemetry import CANCEL_ONLY, READY, STARTING, STOPPING, TOPIC, Vitals

_STREAMED = frozenset({"event", "snapshot", "gap"})
WIND_DOWN_POLL_MS = 20
JOURNAL_FAILURE = "journal failure"
"""How the reason of such a halt begins."""
REASON_MAX = 500
IDLE_MS = 100
"""The loop wakes at least this often: heartbeats, hellos, reaping."""


class Clock:
    """Both clocks of a heart. `mono_ns` continues where the journal ended, over restarts and reboots."""

    def __init__(self, last: Now) -> None:
        wall = time.time_ns()
        self._base = last.mono_ns + max(0, wall - last.wall_ns) if last.wall_ns else 1
        self._start = time.monotonic_ns()

    def now(self) -> Now:
        return Now(time.time_ns(), self._base + time.monotonic_ns() - self._start)


class Quarantine:
    """Inputs that crashed the core: kept in files, refused INTERNAL from then on, so there is no crash loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._digests = {path.stem for path in folder.glob("*.input")}

    def holds(self, body: msgspec.Raw) -> bool:
        return bool(self._digests) and _digest(body) in self._digests

    def put(self, body: msgspec.Raw) -> Path:
        path = self._folder / f"{_digest(body)}.input"
        path.write_bytes(bytes(body))
        return path


class _Query(NamedTuple):
    message: Message
    origin: Origin
    body: msgspec.Raw


class Heart:
    """One running heart. `step` is the whole program; `run` repeats it."""

    def __init__(
        self,
        name: str,
        core: Core,
        settings: Settings,
        log: structlog.typing.FilteringBoundLogger,
        *,
        sight: Sight | None = None,
        marker: HaltMarker | None = None,
    ) -> None:
        self.name = name
        self._core = core
        self._sight = sight
        self._marker = marker
        self._dropped: list[Effect] = []
        """Effects of the step that could not be journaled: never performed."""
        self._watched: frozenset[tuple[str, str]] = frozenset()
        self._settings = settings
        self._log = log
        self._folder = settings.paths.data_dir / name
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._vitals = Vitals(name, os.getpid(), time.time_ns())
        self._quarantine = Quarantine(self._folder / "quarantine")
        self._stop = StopSignal()
        self._checkpoint_pid = 0
        self._checkpoint_index = 0
        self._pending_index = 0
        self._checkpoint_due_ns = 0
        self._configured = ""
        self._journal, last = self._restore()
        self._clock = Clock(last)
        self._bus: Bus = ZmqBus(name, settings.paths.run_dir)
        self._peer = Peer(self._bus, name, Epoch(self._journal.journal_id, self._journal.starts))

    def follow(self, streams: Iterable[tuple[str, str]]) -> None:
        """Streams whose events become inputs."""
        for owner, topic in streams:
            self._peer.follow(owner, topic)

    # --- start ---

    def _restore(self) -> tuple[Journal, Now]:
        started = time.monotonic_ns()
        keys = self._settings.journal
        folder = self._folder / "journal"
        journal_id = journal_id_of(folder) if folder.is_dir() else None
        checkpoint = load_checkpoint(self._folder, journal_id) if journal_id else None
        start = checkpoint.index if checkpoint else 0
        journal = Journal.open(
            folder, segment_bytes=keys.segment_mb << 20, keep_segments=keys.keep_segments, start=start
        )
        last = Now(0, 0)
        chain = None
        if checkpoint is not None:
            for warning in checkpoint.warnings:
                self._log.warning("checkpoint_passed_over", detail=warning)
            saved = _saved_decoder.decode(checkpoint.payload)
            self._core.load(saved.state)
            self._configured = saved.configured
            last = Now(saved.wall_ns, saved.mono_ns)
            chain = checkpoint.chain_hash
            self._checkpoint_index = start
        payloads = (self._seen(record.payload) for record in journal.replay(start, chain_hash=chain))
        replayed, inputs = replay(self._core, payloads)
        self._log.info(
            "restored",
            journal_id=journal.journal_id,
            start=journal.starts,
            checkpoint=start,
            last_index=journal.last_index,
            inputs=inputs,
            torn_bytes=journal.torn_bytes,
            ms=(time.monotonic_ns() - started) // 1_000_000,
        )
        return journal, replayed if replayed.wall_ns else last

    def _seen(self, payload: bytes) -> bytes:
        """Remember the settings in force while a replay passes them by."""
        if b"Configured" in payload[:64]:
            self._configured = _configured_in(payload) or self._configured
        return payload

    def run(self) -> None:
        """Loop until SIGTERM. Raises what must end the process."""
        self._stop.install()
        try:
            self._begin()
            freeze_collector()
            while not self._stop.asked:
                self.step()
        except JournalError as error:
            self._wind_down(error)
            raise
        self._vitals.set_state(STOPPING)
        self._announce(self._clock.now())
        self._write_last_checkpoint()
        self._bus.close()
        self._journal.close()
        self._log.info("stopped")

    def _begin(self) -> None:
        settings = self._settings.model_dump_json()
        if settings != self._configured:
            step = Step(self._core, self._clock.now())
            step.take(Configured(settings), Origin(self.name))
            self._configured = settings
            self._commit(step)
        found = self._marker.read() if self._marker else ""
        if found and found != self._core.halted():
            step = Step(self._core, self._clock.now())
            step.take(HaltFound(found, cancel=found.startswith(JOURNAL_FAILURE)), Origin(self.name))
            self._commit(step)
        elif self._marker is not None and not found and (halted := self._core.halted()) is not None:
            self._marker.set(halted)  # killed between the record of the halt and its marker
        for effect in self._core.outstanding():
            assert isinstance(effect, Send), "only sends can be outstanding"
            taken = self._peer.send(effect.lane, effect.key, effect.body, repeat=True)
            assert taken, f"lane {effect.lane} is full: the core must refuse before"

    # --- the step ---

    def step(self) -> None:
        self._bus.poll(self._timeout_ms())
        now = self._clock.now()
        step = Step(self._core, now)
        due = self._core.due_ns()
        if due is not None and due <= now.mono_ns:
            step.take(TimerFired(), Origin(self.name, "timer"))
        if self._sight is not None:
            self._look(self._sight, step)
        queries: list[_Query] = []
        lanes: list[Origin] = []
        for item in self._peer.receive(now.mono_ns):
            self._sort(item, step, queries)
            if item.kind == "lane":
                lanes.append(item.origin)
        self._commit(step)
        for origin in lanes:
            self._peer.handled(origin)
        for query in queries:
            self._answer(query, now)
        for topic in self._peer.snapshots_wanted(now.mono_ns):
            bodies = [self._beat(now)] if topic == TOPIC else self._core.snapshot(topic, now)
            self._peer.publish_snapshot(topic, bodies, now.mono_ns)
        self._announce(now)
        self._keep_checkpoints(now)

    def _answer(self, query: _Query, now: Now) -> None:
        try:
            answers = self._core.query(query.message, now)
        except Exception:
            self._put_away(query.message, query.origin, query.body)
            raise
        for answer in answers:
            self._peer.reply(query.origin.sender, answer)

    def _timeout_ms(self) -> int:
        now = self._clock.now().mono_ns
        due = min(self._peer.next_due_ns(now), self._core.due_ns() or now + IDLE_MS * 1_000_000)
        return max(0, min(IDLE_MS, -(-(due - now) // 1_000_000)))

    def _look(self, sight: Sight, step: Step) -> None:
        """Follow the streams the sight wants now, and take its own input when one is due."""
        wanted = sight.follows()
        if wanted is not self._watched:
            for owner, topic in self._watched - wanted:
                self._peer.unfollow(owner, topic)
            for owner, topic in wanted - self._watched:
                self._peer.follow(owner, topic)
            self._watched = wanted
        due = sight.beat(step.now, self._peer.heard_ns)
        if due is not None:
            step.take(due, Origin(self.name))

    def _sort(self, item: Item, step: Step, queries: list[_Query]) -> None:
        if self._sight is not None and item.kind in _STREAMED and self._sight.reads(item.origin.lane):
            newest = [item.body] if item.kind == "event" else item.bodies  # of a gap, and of an empty snapshot, nothing
            self._sight.observe(item.origin.lane, newest[-1] if newest else None)
            return
        bodies = item.bodies if item.kind == "snapshot" else [item.body]
        if item.kind not in ("ask", "lane", "event", "snapshot"):
            return
        for body in bodies:
            try:
                message = decode(body)
            except msgspec.DecodeError as error:
                self._vitals.counters["bodies_undecodable"] += 1
                if item.kind == "ask":
                    text = f"this message is not understood: {error}"
                    self._peer.reply(item.origin.sender, Refused(request_id_in(body), Reason.UNKNOWN_MESSAGE, text))
                continue
            if type(message) in self._core.own:
                self._refuse_own(message, item.origin)
            elif self._quarantine.holds(body):
                self._refuse_quarantined(item, body)
            elif type(message) in self._core.queries:
                queries.append(_Query(message, item.origin, body))
            else:
                self._handle(step, message, item.origin, body)

    def _handle(self, step: Step, message: Message, origin: Origin, body: msgspec.Raw) -> None:
        if step.size > self._journal.payload_max // 2:
            self._commit(step)
            step.clear()
        try:
            attached = self._sight.attach(message, step.now, self._peer.heard_ns) if self._sight else message
            step.take(attached, origin, body if attached is message else None)
        except Exception:
            self._put_away(message, origin, body)
            raise

    def _refuse_own(self, message: Message, origin: Origin) -> None:
        """Somebody says what only we can know."""
        self._vitals.counters["own_messages_refused"] += 1
        if not origin.lane:
            text = f"{type(message).__name__} is only for {self.name} itself"
            self._peer.reply(origin.sender, Refused("", Reason.UNKNOWN_MESSAGE, text))

    def _put_away(self, message: Message, origin: Origin, body: msgspec.Raw) -> None:
        path = self._quarantine.put(body)
        self._log.error(
            "input_crashed_the_core",
            message=type(message).__name__,
            sender=origin.sender,
            quarantine=str(path),
            traceback=traceback.format_exc(),
        )

    def _refuse_quarantined(self, item: Item, body: msgspec.Raw) -> None:
        self._vitals.counters["quarantined_inputs"] += 1
        if item.kind == "ask":
            text = "this request crashed the process before and is quarantined"
            self._peer.reply(item.origin.sender, Refused(request_id_in(body), Reason.INTERNAL, text))

    def _commit(self, step: Step) -> None:
        """Make the step durable, then perform its effects. A JournalError drops the batch and ends the process."""
        if step.inputs:
            try:
                self._journal.append(step.record())
            except JournalError:
                self._dropped = step.effects
                raise
            self._vitals.counters["steps"] += 1
            self._vitals.counters["inputs"] += len(step.inputs)
        for effect in step.effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Publish():
                self._peer.publish(effect.topic, effect.body)
            case Reply():
                self._peer.reply(effect.to, effect.body)
            case Send():
                taken = self._peer.send(effect.lane, effect.key, effect.body)
                assert taken, f"lane {effect.lane} is full: the core must refuse before"
            case Settle():
                self._peer.settle(effect.lane, effect.key)
            case Mark():
                assert self._marker is not None, "only a core with a marker marks"
                self._marker.set(effect.reason)
            case Log():
                getattr(self._log, effect.level)(effect.event, **effect.fields)

    # --- the end after a journal failure (architecture section 3) ---

    def _wind_down(self, error: JournalError) -> None:
        """The batch and its effects are dropped; the halt marker is set; only cancels are taken until they are proven.

        What the lanes bring is not handled, but a lane may acknowledge it all the same when its sender repeats it: the
        next life asks the venue for everything since.
        """
        self._log.critical("journal_failed", error=str(error))
        why = f"{JOURNAL_FAILURE}: {error}"[:REASON_MAX]
        winding = self._core.wind_down(why, self._dropped)
        if winding is None:
            return
        self._mark_the_end(why)
        self._vitals.set_state(CANCEL_ONLY, why)
        now = self._clock.now()
        effects = winding.start(now)
        while not (verdict := winding.verdict(now)):
            for effect in effects:
                self._perform(effect)
            if self._vitals.due(now.mono_ns):
                self._peer.publish(TOPIC, self._beat(now))
            self._peer.flush(now.mono_ns)
            self._bus.poll(WIND_DOWN_POLL_MS)
            now = self._clock.now()
            effects = winding.on_time(now)
            for item in self._peer.receive(now.mono_ns):
                effects += self._heard_at_the_end(winding, item, now)
        self._log.critical("wound_down", verdict=verdict)
        self._peer.flush(now.mono_ns)
        self._bus.close()

    def _mark_the_end(self, why: str) -> None:
        """A disk that cannot take the journal may not take the marker either: the cancels must leave all the same."""
        try:
            if self._marker is not None:
                self._marker.set(why)
        except OSError as error:
            self._log.critical("halt_marker_failed", error=str(error))

    def _heard_at_the_end(self, winding: WindDown, item: Item, now: Now) -> list[Effect]:
        if item.kind not in ("ask", "lane"):
            return []
        try:
            message = decode(item.body)
        except msgspec.DecodeError:
            return []
        return winding.handle(message, item.origin, now)

    # --- telemetry and checkpoints ---

    def _beat(self, now: Now) -> Message:
        return self._vitals.beat(now.wall_ns, dict(self._peer.counters), self._core.counters())

    def _announce(self, now: Now) -> None:
        if self._vitals.state != STOPPING:
            missing = self._core.missing()
            self._vitals.set_state(STARTING if missing else READY, missing or self._journal.helper_error)
        if self._vitals.due(now.mono_ns):
            self._peer.publish(TOPIC, self._beat(now))
            for trouble in self._vitals.first_troubles(self._peer.counters):
                self._log.warning(trouble, detail="counted from now on, see the heartbeat's counters")
        self._peer.flush(now.mono_ns)

    def _saved(self) -> bytes:
        now = self._clock.now()
        return _encoder.encode(Saved(now.wall_ns, now.mono_ns, self._configured, self._core.dump()))

    def _keep_checkpoints(self, now: Now) -> None:
        if self._checkpoint_pid:
            code = reap(self._checkpoint_pid)
            if code is None:
                return
            self._checkpoint_pid = 0
            if code == 0:
                # The checkpoint before stays usable, should the new one turn out damaged.
                self._journal.prune(self._checkpoint_index)
                self._checkpoint_index = self._pending_index
            else:
                self._log.error("checkpoint_failed", exit_code=code)
        if now.mono_ns < self._checkpoint_due_ns:
            return
        self._checkpoint_due_ns = now.mono_ns + self._settings.journal.checkpoint_every_s * 1_000_000_000
        if self._journal.last_index > self._checkpoint_index:
            self._fork_checkpoint()

    def _fork_checkpoint(self) -> None:
        self._pending_index = self._journal.last_index
        try:
            self._checkpoint_pid = fork_checkpoint(self._write_alone, [self._journal.lock_fd])
        except OSError as error:
            self._log.error("checkpoint_failed", error=error.strerror)

    def _write_alone(self) -> None:
        """In the child: the locks and sockets of a parent that gets killed must be free at once, not with our end."""
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        journal = self._journal
        write_checkpoint(self._folder, journal.last_index, journal.last_hash, journal.journal_id, self._saved())

    def _write_last_checkpoint(self) -> None:
        """At an orderly stop; a crash simply replays more."""
        if self._journal.last_index > self._checkpoint_index:
            self._write_checkpoint()


class Saved(msgspec.Struct, frozen=True, array_like=True):
    """What a checkpoint holds beside the core's own state."""

    wall_ns: int
    mono_ns: int
    configured: str
    state: bytes


_encoder = msgspec.msgpack.Encoder()
_saved_decoder = msgspec.msgpack.Decoder(Saved)


def _configured_in(payload: bytes) -> str | None:
    for row in decode_step(payload).inputs:
        message = decode(row.body)
        if isinstance(message, Configured):
            return message.settings
    return None


def _digest(body: msgspec.Raw) -> str:
    return hashlib.blake2b(bytes(body), digest_size=16).hexdigest()


MakeCore = Callable[[Settings], Core]
