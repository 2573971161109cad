"""A full disk under the executor: architecture section 3's sequence, with real processes on a real full tmpfs."""

from __future__ import annotations

import errno
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import pytest

from common.errors import ExitCode
from common.halt import HaltMarker
from common.messages import (
    CancelAccepted,
    CancelAll,
    ExchangeOrdersReport,
    GetExchangeOrders,
    GetOrders,
    Message,
    OrdersReport,
    PlaceAnswer,
    PlaceOrder,
    Refused,
    Resume,
)
from common.reasons import Reason
from common.requester import Requester
from common.topology import PROCESSES
from common.types import OrderType, Side, Status, TimeInForce
from scripts.provision import GivenSecrets, provision
from tests.process.demo import Demo
from tests.process.group import Group, group

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

OVER = {Status.CANCELLED, Status.REJECTED}
"""Cancelled, or proven to have never arrived."""
ORDERS_MAX = 4_000
"""Far more than two segments of one megabyte hold."""


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """Take every free byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        while _written(file):
            pass
    assert not os.statvfs(folder).f_bavail
    return filler


def _written(file: FileIO) -> int:
    try:
        return file.write(bytes(4096))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return 0


def place(market: str) -> PlaceOrder:
    return PlaceOrder(
        uuid.uuid4().hex, "default", f"full-{uuid.uuid4().hex}", "polymarket", market, "0", Side.BUY, OrderType.LIMIT,
        TimeInForce.GTC, True, 10_000, 5_000_000,
    )  # fmt: skip


def trade_until_refused(processes: Group, market: str) -> tuple[set[str], Message]:
    """Order ids the executor said it took, and its first refusal."""
    taken: set[str] = set()
    with Requester(processes.settings) as bus:
        for _ in range(ORDERS_MAX):
            try:
                answer = bus.request("executor", place(market), timeout_s=10)
            except TimeoutError:
                continue  # the step this one was in could not be journaled: it was dropped, unanswered
            if not isinstance(answer, PlaceAnswer):
                return taken, answer
            taken.add(answer.order.order_id)
    raise AssertionError(f"{len(taken)} orders and the disk is not full")


def open_at_the_venue(processes: Group, wallet: str) -> list[str]:
    with Requester(processes.settings) as bus:
        report = bus.request("exchange", GetExchangeOrders(uuid.uuid4().hex, wallet))
    assert isinstance(report, ExchangeOrdersReport)
    return [order.venue_order_id for order in report.orders]


def orders(processes: Group) -> list[Status]:
    with Requester(processes.settings) as bus:
        report = bus.request("executor", GetOrders(uuid.uuid4().hex, open_only=False, limit=1000))
    assert isinstance(report, OrdersReport)
    return [order.status for order in report.orders]


def test_a_full_disk_ends_in_a_proven_cancel_all_a_halt_and_exit_74() -> None:
    keys = {"journal__segment_mb": "1", "journal__keep_segments": "2", "journal__checkpoint_every_s": "3600"}
    with group(**keys) as processes, small_disk(processes.folder / "small", "16m") as disk:
        provision(processes.settings, GivenSecrets())
        for name in PROCESSES:
            own = {"paths__data_dir": str(disk)} if name in ("executor", "gateway") else {}
            processes.start(name, **own)
        processes.wait_ready(*PROCESSES, deadline_s=60)
        demo = Demo(processes)
        market, wallet = demo.two_sided()["slug"], demo.wallet_address()
        filler = fill_up(disk)

        taken, refusal = trade_until_refused(processes, market)

        assert isinstance(refusal, Refused)
        assert refusal.code is Reason.HALTED, refusal
        assert "only cancels are taken" in refusal.text
        assert processes.processes["executor"].wait(60) == ExitCode.JOURNAL
        log = processes.log("executor")
        assert '"event": "wound_down"' in log or '"event":"wound_down"' in log
        assert "known orders are open" in log, log[-1500:]
        assert open_at_the_venue(processes, wallet) == []
        assert "journal failure" in HaltMarker(disk).read()
        assert len(taken) > 100

        restarted_after(processes, disk, filler, len(taken), market)


def restarted_after(processes: Group, disk: Path, filler: Path, taken: int, market: str) -> None:
    """With room again: everything it ever took is known and over, nothing is sent, and it stays halted until resume."""
    filler.unlink()
    processes.start("executor", paths__data_dir=str(disk))
    processes.wait_ready("executor")
    until = time.monotonic() + 45
    while left := [status for status in orders(processes) if status not in OVER]:
        assert time.monotonic() < until, left[:5]
        time.sleep(0.2)
    with Requester(processes.settings) as bus:
        refused = bus.request("executor", place(market))
        resumed = bus.request("executor", Resume(uuid.uuid4().hex))
        placed = bus.request("executor", place(market))
        cancelled = bus.request("executor", CancelAll(uuid.uuid4().hex), cancel=True)
    assert isinstance(refused, Refused)
    assert refused.code is Reason.HALTED
    assert not isinstance(resumed, Refused)
    assert isinstance(placed, PlaceAnswer)
    assert placed.order.order_id == f"o-{taken + 1}", "an order was numbered that nobody was told of"
    assert isinstance(cancelled, CancelAccepted)
    assert HaltMarker(disk).read() == ""
    assert os.statvfs(disk).f_bavail
