"""polymarket_sim as a real process: kill -9, a restarted exchange, taken ports, missing secrets."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType

from common.errors import ExitCode
from tests.conformance.venue import UP, RunningVenue, new_key, running_venue
from tests.process.group import Group, group

pytestmark = pytest.mark.process
DEADLINE_S = 15.0


@pytest.fixture(scope="module")
def venue() -> Iterator[RunningVenue]:
    with running_venue() as running:
        yield running


def client_of(venue: RunningVenue, key: str) -> Any:
    from py_clob_client_v2.client import ClobClient

    client = ClobClient(venue.host, chain_id=137, key=key)
    client.set_api_creds(client.create_or_derive_api_key())
    return client


def rest(client: Any) -> Any:
    from py_clob_client_v2.clob_types import OrderArgs

    signed = client.create_order(OrderArgs(token_id=UP, price=0.30, size=10, side="BUY"))
    return signed, client.post_order(signed)["orderID"]


def test_kill_9_of_the_venue_loses_nothing(venue: RunningVenue) -> None:
    """Keys, deleted keys, orders, used order ids and the armed dead-man switch are there after the restart."""
    from py_clob_client_v2.exceptions import PolyApiException

    key, gone = new_key(), new_key()
    client, deleted, watched = client_of(venue, key), client_of(venue, gone), client_of(venue, new_key())
    signed, order_id = rest(client)
    _, at_risk = rest(watched)
    assert deleted.delete_api_key() == "OK"
    watched.post_heartbeat("")
    venue.group.kill9("polymarket_sim")
    venue.group.start("polymarket_sim")
    venue.group.wait_ready("polymarket_sim")
    assert [row["id"] for row in client.get_open_orders()] == [order_id]
    assert client_of(venue, key).creds == client.creds
    with pytest.raises(PolyApiException) as unauthorized:
        deleted.get_open_orders()
    assert unauthorized.value.status_code == 401
    assert client_of(venue, gone).creds != deleted.creds
    with pytest.raises(PolyApiException) as duplicate:
        client.post_order(signed)
    assert duplicate.value.error_msg == {"error": f"order {order_id} is invalid. Duplicated."}
    venue.wait_for(lambda: watched.get_order(at_risk)["status"] == "CANCELED", "dead-man cancel", deadline_s=20)
    assert client.cancel_all()["canceled"] == [order_id]


async def test_a_restarted_exchange_cuts_user_sockets_and_redraws_books(venue: RunningVenue) -> None:
    client = client_of(venue, new_key())
    _, order_id = rest(client)
    creds = client.creds
    auth = {"apiKey": creds.api_key, "secret": creds.api_secret, "passphrase": creds.api_passphrase}
    ws_url = venue.host.replace("http", "ws", 1) + "/ws/"
    async with (
        ClientSession() as session,
        session.ws_connect(ws_url + "user") as user,
        session.ws_connect(ws_url + "market") as market,
    ):
        await user.send_json({"type": "user", "auth": auth})
        await market.send_json({"type": "market", "assets_ids": [UP]})
        before = json.loads((await market.receive(DEADLINE_S)).data)[0]
        venue.group.kill9("exchange")
        venue.group.start("exchange")
        assert (await user.receive(DEADLINE_S)).type is not WSMsgType.TEXT
        after = json.loads((await market.receive(DEADLINE_S)).data)[0]
        assert (after["bids"], after["asks"]) == (before["bids"], before["asks"])
    venue.group.wait_ready("exchange", "polymarket_sim")
    assert [row["id"] for row in client.get_open_orders()] == [order_id]
    assert rest(client)[1] != order_id
    assert len(client.cancel_all()["canceled"]) == 2


def test_faults_of_order_calls_reach_a_real_client_and_are_counted(venue: RunningVenue) -> None:
    """A reset after acceptance, a failed settlement, a venue that restarts: each switched by the control port."""
    from py_clob_client_v2.clob_types import MarketOrderArgs, OrderArgs, OrderType
    from py_clob_client_v2.exceptions import PolyApiException

    client = client_of(venue, new_key())
    signed = client.create_order(OrderArgs(token_id=UP, price=0.30, size=10, side="BUY"))
    last = venue.get("/requests?after=0", venue.control)["last"]
    venue.fault("post_order_reset", times=1)
    with pytest.raises(PolyApiException) as unknown:
        client.post_order(signed)
    assert unknown.value.status_code is None
    (order_id,) = [row["id"] for row in client.get_open_orders()]
    (call,) = venue.get(f"/requests?after={last}", venue.control)["requests"]
    assert (call["order_ids"], call["status"], call["outcome"]) == ([order_id], 0, "reset")
    assert venue.get("/status", venue.control)["order_posts"][order_id] == 1

    venue.fault("settlement", kind="RETRYING_FAILED", times=1)
    wanted = MarketOrderArgs(token_id=UP, amount=4.7, side="BUY", price=0.47)
    bought = client.create_market_order(wanted)
    trade_ids = client.post_order(bought, OrderType.FAK)["tradeIDs"]

    def has_failed() -> bool:
        return ("FAILED", trade_ids[0]) in {(row["status"], row["id"]) for row in client.get_trades()}

    venue.wait_for(has_failed, "failed trade")
    assert venue.get("/status", venue.control)["struck"]["settlement"] == 1

    venue.fault("restart", down_s=3600)
    with pytest.raises(PolyApiException) as restarting:
        client.cancel_all()
    assert (restarting.value.status_code, restarting.value.error_msg) == (425, {"error": "service not ready"})
    venue.fault("restart", on=False)
    assert client.cancel_all()["canceled"] == [order_id]


@pytest.fixture
def alone() -> Iterator[Group]:
    with group() as processes:
        yield processes


def write_secret(processes: Group) -> Path:
    path = processes.folder / "secrets" / "polymarket_sim.secret"
    path.write_text("ab" * 32)
    path.chmod(0o600)
    return path


def refusal_of(processes: Group) -> dict[str, Any]:
    process = processes.start("polymarket_sim")
    assert process.wait(DEADLINE_S) == ExitCode.CONFIG
    last: dict[str, Any] = json.loads(processes.log("polymarket_sim").strip().splitlines()[-1])
    return last


@pytest.mark.parametrize("which", ["PORT", "CONTROL_PORT"])
def test_a_taken_port_is_one_line_naming_port_and_setting(alone: Group, which: str) -> None:
    write_secret(alone)
    port = alone.port if which == "PORT" else alone.control_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        error = refusal_of(alone)["error"]
    assert f"POLYEXEC_POLYMARKET_SIM__{which}: port {port} is taken" in error


def test_a_missing_or_open_secret_is_named(alone: Group) -> None:
    assert "polymarket_sim.secret" in refusal_of(alone)["error"]
    write_secret(alone).chmod(0o644)
    assert "chmod 600" in refusal_of(alone)["error"]


def test_it_is_not_ready_without_the_exchange_and_stops_in_order(alone: Group) -> None:
    from common.requester import Requester

    write_secret(alone)
    alone.start("polymarket_sim")
    end = time.monotonic() + DEADLINE_S
    with Requester(alone.settings) as bus:
        while time.monotonic() < end:
            beat = bus.heartbeats(0.5, ("polymarket_sim",)).get("polymarket_sim")
            if beat is not None and beat.detail:
                break
    assert beat is not None
    assert (beat.state, beat.detail) == ("STARTING", "waiting for the streams of the exchange")
    assert alone.stop("polymarket_sim") == 0
