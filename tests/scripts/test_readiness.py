"""Ready is a heartbeat of the process that runs now; hopeless is not waited for; logs are read as people do."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from common.messages import Heartbeat
from scripts.group import Program
from scripts.readiness import (
    NotReady,
    is_hopeless,
    is_ready,
    last_refusal,
    readable,
    recent,
    tail,
    wait_ready,
    why_not,
)

SINCE_NS = 1_790_000_000_000_000_000
AT = "2026-09-21T14:13:21.5Z"
BEFORE = "2026-09-21T14:13:19.5Z"


def beat(name: str = "exchange", state: str = "READY", pid: int = 7, started_ns: int = SINCE_NS) -> Heartbeat:
    return Heartbeat(name, pid, state, "", started_ns, SINCE_NS + 400_000_000, {})


def program(name: str = "exchange", state: str = "RUNNING", pid: int = 7) -> Program:
    return Program(name, state, pid, 0, "")


class FakeGroup:
    """Programs and heartbeats by turn; the last turn repeats."""

    def __init__(self, *turns: tuple[dict[str, Heartbeat], dict[str, Program]]) -> None:
        self._turns = list(turns)
        self._turn = turns[0]

    def heartbeats(self, timeout_s: float = 1.0, processes: tuple[str, ...] = ()) -> dict[str, Heartbeat]:
        self._turn = self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
        return self._turn[0]

    def programs(self) -> dict[str, Program]:
        return self._turn[1]


def refusal(code: int, at: str = AT) -> str:
    return json.dumps({"event": "refused_to_run", "exit_code": code, "at": at, "error": "mirror.speed: too fast"})


@pytest.mark.parametrize(
    ("heard", "runs", "old_pid", "ready"),
    [
        (beat(), program(), 0, True),
        (beat(), program(), 7, False),
        (beat(pid=6), program(), 0, False),
        (beat(state="STARTING"), program(), 0, False),
        (None, program(), 0, False),
    ],
)
def test_ready_is_said_by_the_process_that_runs_now(
    heard: Heartbeat | None, runs: Program, old_pid: int, ready: bool
) -> None:
    assert is_ready(heard, runs, old_pid) is ready


def test_waiting_ends_when_the_last_process_is_ready(tmp_path: Path) -> None:
    names = ("exchange", "mirror")
    programs = {name: program(name) for name in names}
    group = FakeGroup(
        ({"exchange": beat("exchange")}, programs), ({"mirror": beat("mirror", "STARTING")}, programs),
        ({"mirror": beat("mirror")}, programs),
    )  # fmt: skip

    rows = wait_ready(group, group, names, 5.0, log_dir=tmp_path, since_ns=SINCE_NS)

    assert [(row.process, row.state, row.pid, row.after_s) for row in rows] == [
        ("exchange", "READY", 7, 0.4),
        ("mirror", "READY", 7, 0.4),
    ]


def test_a_process_that_ran_before_has_no_time_of_its_own(tmp_path: Path) -> None:
    group = FakeGroup(({"exchange": beat(started_ns=SINCE_NS - 1)}, {"exchange": program()}))

    [row] = wait_ready(group, group, ("exchange",), 5.0, log_dir=tmp_path, since_ns=SINCE_NS)

    assert row.after_s is None


def test_a_process_that_died_after_it_was_ready_is_not_counted(tmp_path: Path) -> None:
    names = ("exchange", "mirror")
    group = FakeGroup(
        ({"exchange": beat("exchange")}, {name: program(name) for name in names}),
        ({"mirror": beat("mirror")}, {"exchange": program(pid=9), "mirror": program("mirror")}),
    )

    with pytest.raises(NotReady) as caught:
        wait_ready(group, group, names, 0.05, log_dir=tmp_path, since_ns=SINCE_NS)

    assert list(caught.value.reasons) == ["exchange"]


def test_a_program_supervisord_gave_up_is_not_waited_for(tmp_path: Path) -> None:
    group = FakeGroup(({}, {"exchange": program(state="FATAL", pid=0), "mirror": program("mirror")}))

    with pytest.raises(NotReady, match="exchange is not ready: it ends right after its start"):
        wait_ready(group, group, ("exchange", "mirror"), 1e9, log_dir=tmp_path, since_ns=SINCE_NS)


@pytest.mark.parametrize(
    ("state", "line", "hopeless"),
    [
        ("FATAL", "", True),
        ("BACKOFF", refusal(78), True),
        ("BACKOFF", refusal(74), True),
        ("BACKOFF", refusal(76), False),
        ("BACKOFF", refusal(78, BEFORE), False),
        ("BACKOFF", "a traceback", False),
        ("STARTING", refusal(78), False),
    ],
)
def test_only_what_another_try_cannot_cure_is_hopeless(tmp_path: Path, state: str, line: str, hopeless: bool) -> None:
    log = tmp_path / "exchange.log"
    log.write_text(line + "\n")

    assert is_hopeless(program(state=state), log, SINCE_NS) is hopeless


def test_the_newest_refusal_counts() -> None:
    assert last_refusal([refusal(75), refusal(78), '{"event": "state"}'], SINCE_NS) == (78, "mirror.speed: too fast")
    assert last_refusal([refusal(78, BEFORE)], SINCE_NS) is None


def test_a_refusal_is_told_in_the_words_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "exchange.log").write_text(refusal(78))
    group = FakeGroup(({}, {"exchange": program(state="BACKOFF")}))

    with pytest.raises(NotReady, match=r"exchange is not ready: mirror\.speed: too fast") as caught:
        wait_ready(group, group, ("exchange",), 1e9, log_dir=tmp_path, since_ns=SINCE_NS)

    assert caught.value.unexplained == []


@pytest.mark.parametrize(
    ("heard", "runs", "text"),
    [
        (beat(state="STARTING"), program(), "STARTING"),
        (None, program(state="BACKOFF"), "it ends right after its start (BACKOFF)"),
        (None, program(), "no heartbeat heard (RUNNING)"),
        (beat(pid=6), program(), "no heartbeat heard (RUNNING)"),
    ],
)
def test_why_a_process_is_not_ready_is_said_in_words(heard: Heartbeat | None, runs: Program, text: str) -> None:
    assert why_not(runs, heard) == text


def test_what_a_ready_process_remarks_is_told_with_who_is_not_ready(tmp_path: Path) -> None:
    """The one that is not ready may wait for something only another one can name."""
    told = msgspec.structs.replace(beat("gateway"), detail="executor speaks from another journal: remove gateway.peers")
    beats = {"gateway": told, "executor": beat("executor", "STARTING")}
    group = FakeGroup((beats, {name: program(name) for name in beats}))

    with pytest.raises(
        NotReady, match=r"executor is not ready: STARTING; gateway says: .* remove gateway\.peers"
    ) as caught:
        wait_ready(group, group, ("gateway", "executor"), 0.0, log_dir=tmp_path, since_ns=SINCE_NS)

    assert caught.value.unexplained == ["executor"]


def test_lines_of_an_earlier_run_are_not_recent() -> None:
    assert recent([refusal(78, BEFORE), refusal(75), "a traceback"], SINCE_NS) == [refusal(75), "a traceback"]


def test_a_json_log_line_is_read_as_words() -> None:
    line = json.dumps(
        {"at": AT, "level": "critical", "event": "bug", "process": "x", "traceback": "a\n  b\nKeyError: 'c'"}
    )

    assert readable(line) == f"{AT} critical bug KeyError: 'c'"


def test_a_log_line_that_is_not_json_is_shown_cut() -> None:
    assert readable("x" * 1000) == "x" * 300
    assert readable("[1]") == "[1]"


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("\n".join(str(number) for number in range(50_000)) + "\n\n")

    assert tail(log, 2) == ["49998", "49999"]
    assert tail(tmp_path / "absent.log", 2) == []
