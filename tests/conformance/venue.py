"""A running venue for a test module: exchange and polymarket_sim as processes, one market with a resting book.

The liquidity account is reset to the same ladder before each test, so every test knows the prices it meets.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from common.fixed import parse_micros
from common.instruments import Market
from common.messages import Accepted, Deposit, Message, OpenAccount, OpenMarket, QuoteLadder
from common.requester import Requester
from services.polymarket_sim.keys import SECRET_FILE
from tests.process.group import Group, group

CONDITION = "0x" + "5f" * 32
UP = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
DOWN = "52114319501245915516055106046884209969926127482827954674443846427813813222426"
FINE_CONDITION = "0x" + "7e" * 32
FINE_TOKENS = (str(int("9c" * 32, 16)), str(int("3b" * 32, 16)))
POSITION_CONDITION = "0x01" + "ab" * 18 + "00" * 8 + "000000cd"
POSITION_TOKENS = (str(int(POSITION_CONDITION + "00", 16)), str(int(POSITION_CONDITION + "01", 16)))
"""A market of protocol V2: its assets are position ids, signed for exchange V3 (protocol section 3.1)."""
LIQUIDITY = "liquidity"
BIDS = ((45, 200), (44, 300), (40, 500))
ASKS = ((47, 200), (48, 300), (60, 500))
"""(cents, shares) of the first token."""
DEADLINE_S = 15.0


class RunningVenue:
    """What a test needs to know of the running venue."""

    def __init__(self, processes: Group) -> None:
        self.group = processes
        self.host = f"http://127.0.0.1:{processes.port}"
        self.control = f"http://127.0.0.1:{processes.control_port}"
        self.market = Market(
            "polymarket", CONDITION, "btc-up-or-down", "Bitcoin up or down?", ("Up", "Down"), (UP, DOWN),
            10_000, 5_000_000, fee_rate=70_000, category="crypto", start_ns=1_790_000_000 * 10**9,
            end_ns=1_795_900_000 * 10**9,
        )  # fmt: skip
        self.markets = (
            self.market,
            replace(
                self.market, condition_id=FINE_CONDITION, slug="fine-tick", question="Fine tick?",
                outcomes=("Yes", "No"), token_ids=FINE_TOKENS, tick=1_000, neg_risk=True, fee_rate=0,
            ),
            replace(
                self.market, condition_id=POSITION_CONDITION, slug="positions", question="A position?",
                outcomes=("Yes", "No"), token_ids=POSITION_TOKENS,
            ),
        )  # fmt: skip
        self._commands = 0

    def prepare(self) -> None:
        """List the markets and open the liquidity account."""
        for market in self.markets:
            self.command(OpenMarket(self.next_id(), market))
        self.command(OpenAccount(self.next_id(), LIQUIDITY, parse_micros("1000000"), liquidity=True))
        for token in [token for market in self.markets for token in market.token_ids]:
            self.command(Deposit(self.next_id(), LIQUIDITY, token, parse_micros("1000000")))
        self.quote()

    def quote(self, bids: tuple[tuple[int, int], ...] = BIDS, asks: tuple[tuple[int, int], ...] = ASKS) -> None:
        """Every market gets the same ladder."""
        levels = [[(cents * 10_000, size * 1_000_000) for cents, size in side] for side in (bids, asks)]
        for market in self.markets:
            self.command(QuoteLadder(self.next_id(), LIQUIDITY, market.condition_id, *levels))
        tops = [f"{max(cents for cents, _ in bids) / 100:g}", f"{min(cents for cents, _ in asks) / 100:g}"]
        for token in (market.token_ids[0] for market in self.markets):
            self.wait_for(lambda token=token: self._tops(token) == tops, f"book at {tops}")

    def _tops(self, token: str) -> list[str]:
        book = self.get("/book?token_id=" + token)
        return [side[-1]["price"] for side in (book["bids"], book["asks"]) if side]

    def next_id(self) -> str:
        self._commands += 1
        return f"test-{self._commands}-{secrets.token_hex(4)}"

    def command(self, body: Message) -> None:
        with Requester(self.group.settings) as bus:
            answer = bus.request("exchange", body)
        assert isinstance(answer, Accepted), answer

    def get(self, path: str, base: str = "") -> Any:
        with urllib.request.urlopen((base or self.host) + path, timeout=5) as response:
            return json.loads(response.read())

    def fault(self, name: str, on: bool = True, **parameters: int | str) -> None:
        body = json.dumps({"name": name, "on": on, **parameters}).encode()
        request = urllib.request.Request(self.control + "/faults", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as response:
            assert response.status == 200

    def wait_for(self, look: Any, what: str, deadline_s: float = DEADLINE_S) -> Any:
        """Ask again until something is there."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            found = look()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"no {what} within {deadline_s} s")

    def environment(self) -> Any:
        """The unified client's environment, pointed here (protocol section 11, item 1)."""
        from polymarket._internal.environment import PRODUCTION_CONFIG, create_environment

        ws = self.host.replace("http", "ws", 1)
        config = dataclasses.replace(
            PRODUCTION_CONFIG,
            clob_url=self.host,
            clob_market_ws_url=ws + "/ws/market",
            clob_user_ws_url=ws + "/ws/user",
            gamma_url=self.host + "/gamma",
            data_url=self.host + "/data",
            relayer_url=self.host + "/relayer",
            rpc_url=self.host + "/rpc",
        )
        return create_environment(name="simulator", config=config)


@contextmanager
def running_venue(**settings: str) -> Iterator[RunningVenue]:
    with group(**{"polymarket_sim__accept_v1": "true", **settings}) as processes:
        secret = processes.folder / "secrets" / SECRET_FILE
        secret.write_text(secrets.token_hex(32))
        secret.chmod(0o600)
        processes.start("exchange")
        processes.start("polymarket_sim")
        processes.wait_ready("exchange", "polymarket_sim")
        venue = RunningVenue(processes)
        venue.prepare()
        yield venue


def new_key() -> str:
    """A wallet nobody has seen."""
    return "0x" + secrets.token_hex(32)
