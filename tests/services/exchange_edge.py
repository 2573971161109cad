"""A FakeEdge with a real exchange core behind `request` and its streams, driven by the test's own hand."""

from __future__ import annotations

from common.edge import StreamSink
from common.effects import Now, Publish
from common.frames import Epoch
from common.messages import Message
from common.peer import request_id_of
from common.settings import Settings, Wallet
from tests.services.exchange.world import World
from tests.services.fake_edge import FakeEdge, settings_for


def with_wallets(*wallets: Wallet, **exchange: int) -> Settings:
    settings = settings_for()
    changes = {"wallets": wallets, "exchange": settings.exchange.model_copy(update=exchange)}
    return settings.model_copy(update=changes)


OWN = Wallet(name="own", venue="exchange")


class ExchangeEdge(FakeEdge):
    """`away`: nothing is answered. `deaf`: it is done, but the answer is lost. `said` replaces one coming answer."""

    def __init__(self, name: str, settings: Settings, world: World) -> None:
        super().__init__(name, settings)
        self.world = world
        self.away = self.deaf = False
        self.said: list[Message] = []
        self.asked: list[Message] = []
        self.timeouts: list[float] = []
        self.sinks: dict[str, StreamSink] = {}
        self.heard_at_ns = 0

    async def request(self, owner: str, body: Message, *, timeout_s: float = 5.0, cancel: bool = False) -> Message:
        del cancel
        assert owner == "exchange"
        assert request_id_of(body)
        self.asked.append(body)
        self.timeouts.append(timeout_s)
        if self.away:
            raise TimeoutError(f"exchange did not answer {type(body).__name__} within {timeout_s:g} s")
        if self.said:
            return self.said.pop(0)
        answer = self.perform(body)
        self.poke()
        if self.deaf:
            raise TimeoutError(f"exchange did not answer {type(body).__name__} within {timeout_s:g} s")
        return answer

    def perform(self, body: Message) -> Message:
        """What the exchange does with a request; what it publishes reaches who follows it."""
        core = self.world.core
        if type(body) in core.queries:
            return self.world.ask(body)  # type: ignore[no-any-return]
        answer = self.world.send(body)
        assert answer is not None
        self.hear()
        return answer

    def hear(self) -> None:
        """The streams of the exchange's last step."""
        for effect in self.world.effects:
            sink = self.sinks.get(effect.topic) if isinstance(effect, Publish) else None
            if sink is not None and isinstance(effect, Publish):
                sink.on_event(effect.body)

    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        self.hear()

    def show(self, topic: str) -> None:
        """A snapshot of one stream."""
        now = Now(self.world.wall_ns, self.world.mono_ns)
        self.sinks[topic].on_snapshot(self.world.core.snapshot(topic, now))

    def subscribe(self, owner: str, topic: str, sink: StreamSink) -> None:
        assert owner == "exchange"
        self.sinks[topic] = sink

    def unsubscribe(self, owner: str, topic: str) -> None:
        assert owner == "exchange"
        del self.sinks[topic]

    def heard_ns(self, owner: str) -> int:
        assert owner == "exchange"
        return self.heard_at_ns

    def epoch_of(self, owner: str) -> Epoch:
        del owner
        return self.epoch

    def asked_of(self, kind: type[Message]) -> list[Message]:
        return [body for body in self.asked if isinstance(body, kind)]
