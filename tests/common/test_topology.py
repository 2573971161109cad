"""The topology table is whole: every lane ends in an inbox, every inbox has an owner that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from common.topology import (
    ALL_PROCESSES,
    ASK_INBOX,
    CANCEL_INBOX,
    HEARTS,
    INBOXES,
    LANES,
    inbox,
    inbox_address,
    inboxes_of,
    lane,
    out_address,
)


def test_names_are_unique() -> None:
    for names in ([row.name for row in INBOXES], [row.name for row in LANES], list(ALL_PROCESSES)):
        assert len(set(names)) == len(names)


def test_every_inbox_belongs_to_a_process_and_is_named_for_it() -> None:
    for row in INBOXES:
        assert row.owner in ALL_PROCESSES
        assert row.name.startswith(f"{row.owner}.")


def test_every_lane_ends_in_an_inbox_its_sender_may_use() -> None:
    for row in LANES:
        assert row.sender in inbox(row.inbox).senders
        assert row.kept_until in ("ack", "result")
        assert not row.normal or lane(row.normal).sender == row.sender


def test_every_process_can_be_asked() -> None:
    assert set(ASK_INBOX) == set(ALL_PROCESSES)
    for name, owner in [*((v, k) for k, v in ASK_INBOX.items()), *((v, k) for k, v in CANCEL_INBOX.items())]:
        assert inbox(name).owner == owner


def test_cancels_are_drained_before_everything_else() -> None:
    for owner in CANCEL_INBOX:
        assert inboxes_of(owner)[0].name == CANCEL_INBOX[owner]
    assert [row.name for row in inboxes_of("executor")] == ["executor.cancel", "executor.facts", "executor.command"]


def test_hearts_are_processes() -> None:
    assert set(ALL_PROCESSES) >= HEARTS


def test_addresses_lie_in_the_run_folder_and_fit_a_socket() -> None:
    assert inbox_address(Path("/r"), "executor.facts") == "ipc:///r/executor.facts"
    assert out_address(Path("/r"), "executor") == "ipc:///r/executor.out"
    with pytest.raises(ConfigError, match="shorter"):
        out_address(Path("/" + "x" * 110), "executor")
