"""The shells of hearts and edges as real processes: crash, restart, locks, signals, quarantine, exit codes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import ExitCode
from common.messages import Accepted, BalancesReport, Deposit, GetBalances, GetBook, Refused
from common.reasons import Reason
from common.requester import Requester
from tests.process.group import Group, group

pytestmark = pytest.mark.process

HEART, EDGE = "tests.process.toy_heart", "tests.process.toy_edge"


@pytest.fixture
def toys() -> Iterator[Group]:
    with group(journal__checkpoint_every_s="1") as made:
        made.start("exchange", HEART)
        yield made


def total(bus: Requester, of: str = "exchange") -> int:
    report = bus.request(of, GetBalances(f"q-{random.random()}", "a"))
    assert isinstance(report, BalancesReport)
    return report.cash


def wait_total(bus: Requester, of: str, value: int, deadline_s: float = 5.0) -> None:
    end = time.monotonic() + deadline_s
    while (found := total(bus, of)) != value:
        assert time.monotonic() < end, f"{of} holds {found}, not {value}"


def test_what_was_answered_survives_kill_9_and_a_repeat_is_not_done_twice(toys: Group) -> None:
    """25 kills at random moments while commands flow; every answered command counts exactly once."""
    rng = random.Random(4711)
    stop = threading.Event()

    def killer() -> None:
        for _ in range(25):
            time.sleep(rng.uniform(0.05, 0.4))
            toys.kill9("exchange")
            toys.start("exchange", HEART)
        stop.set()

    toys.wait_ready("exchange")
    thread = threading.Thread(target=killer)
    thread.start()
    sent = 0
    with Requester(toys.settings) as bus:
        while not stop.is_set():
            sent += 1
            answer = bus.request("exchange", Deposit(f"c-{sent}", "a", "", 1), timeout_s=20)
            assert isinstance(answer, Accepted)
        thread.join()
        toys.wait_ready("exchange")
        assert total(bus) == sent
        repeated = bus.request("exchange", Deposit("c-1", "a", "", 1))
        assert repeated == Accepted("c-1", True)
        assert total(bus) == sent


def test_a_stream_reader_in_another_process_is_right_after_the_owners_death(toys: Group) -> None:
    toys.start("mirror", EDGE)
    toys.wait_ready("exchange", "mirror")
    with Requester(toys.settings) as bus:
        bus.request("exchange", Deposit("c-1", "a", "", 5))
        wait_total(bus, "mirror", 5)
        toys.kill9("exchange")
        toys.start("exchange", HEART)
        bus.request("exchange", Deposit("c-2", "a", "", 7), timeout_s=20)
        wait_total(bus, "mirror", 12)


def test_a_stopped_heart_restarts_from_its_checkpoint(toys: Group) -> None:
    toys.wait_ready("exchange")
    with Requester(toys.settings) as bus:
        for n in range(50):
            bus.request("exchange", Deposit(f"c-{n}", "a", "", 2))
        assert toys.stop("exchange") == ExitCode.OK
        toys.start("exchange", HEART)
        toys.wait_ready("exchange")
        assert total(bus) == 100
    assert '"checkpoint": 51' in toys.log("exchange"), "the settings and 50 deposits"


def test_an_input_that_crashes_the_core_is_quarantined_and_refused_after_the_restart(toys: Group) -> None:
    toys.wait_ready("exchange")
    with Requester(toys.settings) as bus:
        with pytest.raises(TimeoutError):
            bus.request("exchange", Deposit("bad", "a", "poison", 1), timeout_s=1)
        assert toys.processes["exchange"].wait(10) == ExitCode.BUG
        toys.start("exchange", HEART)
        toys.wait_ready("exchange")
        answer = bus.request("exchange", Deposit("bad", "a", "poison", 1))
        assert isinstance(answer, Refused)
        assert answer.code is Reason.INTERNAL
        assert isinstance(bus.request("exchange", Deposit("good", "a", "", 1)), Accepted)


def test_a_query_that_crashes_the_core_is_quarantined_too(toys: Group) -> None:
    """It is asked again every 200 ms: without that, whoever asks holds the process in a crash loop."""
    toys.wait_ready("exchange")
    poison = GetBalances("bad", "poison")
    with Requester(toys.settings) as bus:
        with pytest.raises(TimeoutError):
            bus.request("exchange", poison, timeout_s=1)
        assert toys.processes["exchange"].wait(10) == ExitCode.BUG
        toys.start("exchange", HEART)
        toys.wait_ready("exchange")
        answer = bus.request("exchange", poison)
        assert isinstance(answer, Refused)
        assert answer.code is Reason.INTERNAL
        assert total(bus) == 0


def test_a_second_instance_ends_with_its_named_code_and_the_first_goes_on(toys: Group) -> None:
    toys.wait_ready("exchange")
    first = toys.processes["exchange"]
    second = toys.start("exchange", HEART)
    assert second.wait(15) == ExitCode.ALREADY_RUNNING
    toys.processes["exchange"] = first
    with Requester(toys.settings) as bus:
        assert isinstance(bus.request("exchange", Deposit("c", "a", "", 1)), Accepted)


def test_an_edge_answers_refusals_and_unknown_requests(toys: Group) -> None:
    toys.start("mirror", EDGE)
    toys.wait_ready("mirror")
    with Requester(toys.settings) as bus:
        refused = bus.request("mirror", GetBook("r-1", "nowhere"))
        assert refused == Refused("r-1", Reason.UNKNOWN_MARKET, "no such market", "market")


def test_a_bug_in_an_edge_ends_the_process_with_its_traceback(toys: Group) -> None:
    toys.start("mirror", EDGE)
    toys.wait_ready("mirror")
    with Requester(toys.settings) as bus, pytest.raises(TimeoutError):
        bus.request("mirror", GetBalances("r", "bug"), timeout_s=1)
    assert toys.processes["mirror"].wait(10) == ExitCode.BUG
    assert "ZeroDivisionError" in toys.log("mirror")


def test_sigterm_ends_an_edge_orderly(toys: Group) -> None:
    toys.start("mirror", EDGE)
    toys.wait_ready("mirror")
    assert toys.stop("mirror") == ExitCode.OK
    assert '"event": "stopped"' in toys.log("mirror")


def test_unreadable_settings_are_one_line_that_names_the_key(toys: Group) -> None:
    toys.env["POLYEXEC_MIRROR__SPEED"] = "very"
    assert toys.start("mirror", EDGE).wait(15) == ExitCode.CONFIG
    lines = toys.log("mirror").strip().splitlines()
    assert len(lines) == 1
    assert "mirror.speed" in lines[0]


def test_a_run_folder_others_can_enter_is_refused(toys: Group) -> None:
    toys.wait_ready("exchange")
    (toys.folder / "open").mkdir(mode=0o755)
    toys.env["POLYEXEC_PATHS__RUN_DIR"] = str(toys.folder / "open")
    assert toys.start("mirror", EDGE).wait(15) == ExitCode.CONFIG
    assert "paths.run_dir" in toys.log("mirror")


def test_a_child_dies_with_its_parent(toys: Group) -> None:
    """kill -9 of the parent leaves no orphan that would trade on beside its successor."""
    toys.wait_ready("exchange")
    toys.stop("exchange")
    shell = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-m', '{HEART}'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", shell], env=toys.env, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    with Requester(toys.settings) as bus:
        assert isinstance(bus.request("exchange", Deposit("c", "a", "", 1), timeout_s=20), Accepted)
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    parent.stdout.close()
    end = time.monotonic() + 10
    while _alive(child):
        assert time.monotonic() < end, "the orphan lives on"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_leaves_no_core_dump(toys: Group) -> None:
    toys.wait_ready("exchange")
    pid = toys.processes["exchange"].pid
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if line.startswith("Max core file")).split()[4] == "0"
