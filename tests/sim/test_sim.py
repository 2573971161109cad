"""The order path in simulated worlds: thousands of seeds keep every promise, and every broken executor is caught.

A failing seed prints the command that shows it again: python -m tests.sim --seed N --trace
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from common.settings import ROOT
from services.executor.order import TERMINAL
from tests.sim.broken import VARIANTS
from tests.sim.faults import RATES
from tests.sim.processes import CRASH_POINTS
from tests.sim.simulation import COMMAND, Simulation, run_many, run_seed
from tests.sim.world import Violation

SEEDS = 2_000
BOUND_S = 240.0
SOAK_SEEDS = 20_000
SOAK_BOUND_S = 3_600.0
CAUGHT_WITHIN = 200
WORKERS = 2
MUST_SEE = frozenset(
    {
        *RATES,
        *(f"executor dies {point}" for point in ("between two steps", *CRASH_POINTS)),
        *(f"{name} dies {how}" for name in ("gateway", "user_data") for how in ("between two steps", "amid flush")),
        *(f"{name} sent again after a restart" for name in ("Place", "Cancel", "QueryOrder", "QueryTrades")),
        *(f"ends {state}" for state in TERMINAL),
        "MINED FAILED",
        "RETRYING MINED",
        "cancel of an order in doubt",
        "clock stepped",
        "wallet-wide cancel",
        "held by a wallet-wide cancel",
        "sweep ZERO",
        "sweep FINAL",
        "fill while CANCELLED",
        "fill while CANCELLING",
        "live after its cancel was answered",
        "operator answered",
        "refused DUPLICATE_ID",
        "refused FEED_GAP",
        "refused FENCED",
        "refused HALTED",
        "refused ORDER_NOT_FOUND",
        "same bytes sent again",
        "second copy refused",
        "successor live",
    }
)
"""What the seeds are for: a run that never meets one of these proves less than it says."""


@pytest.mark.timeout(BOUND_S + 60)
def test_seeds_keep_every_promise() -> None:
    _run_all(SEEDS, BOUND_S)


@pytest.mark.soak
@pytest.mark.timeout(SOAK_BOUND_S + 60)
def test_ten_times_as_many_other_seeds_keep_every_promise() -> None:
    _run_all(SOAK_SEEDS, SOAK_BOUND_S, first=SEEDS)


def _run_all(count: int, bound_s: float, *, first: int = 0) -> None:
    summary = run_many(range(first, first + count), workers=WORKERS, bound_s=bound_s, say=_say)
    _say(
        f"{summary.seeds} seeds in {summary.seconds:.0f} s ({summary.seeds / summary.seconds:.1f} seeds/s): "
        f"{summary.orders} orders, {summary.trades} trades, {summary.deaths} deaths"
    )
    assert not summary.failures, "\n".join(summary.failures)
    assert summary.seeds == count, f"only {summary.seeds} of {count} seeds ran within {bound_s:.0f} s"
    assert not MUST_SEE - summary.seen.keys()


def _say(line: str) -> None:
    """Past pytest's capture, so that a long run is seen to go on."""
    print(line, file=sys.__stdout__, flush=True)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_executor_is_caught(name: str) -> None:
    core_class, heart_class = VARIANTS[name]
    for seed in range(CAUGHT_WITHIN):
        try:
            Simulation(seed, core_class=core_class, heart_class=heart_class).run()
        except Violation as violation:
            _say(f"{name}: caught, {violation}")
            return
    pytest.fail(f"{name}: not caught by {CAUGHT_WITHIN} seeds")


def test_a_seed_runs_the_same_way_every_time() -> None:
    """In processes of their own, as the order of sets and dicts of text differs between them."""
    runs = [
        subprocess.run(
            [sys.executable, "-m", "tests.sim", "--seed", "7"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]

    assert runs[0] == runs[1]
    assert "trace_hash=" in runs[0]
    assert [run_seed(seed) for seed in range(3)] == [run_seed(seed) for seed in range(3)]


def test_other_seeds_run_other_ways() -> None:
    assert len({run_seed(seed).trace_hash for seed in range(10)}) == 10


def test_a_failure_names_the_command_that_shows_it_again() -> None:
    core_class, heart_class = VARIANTS["dedupe off"]
    with pytest.raises(Violation, match="seed 0: "):
        Simulation(0, core_class=core_class, heart_class=heart_class).run()
    assert COMMAND.format(seed=0) == "python -m tests.sim --seed 0 --trace"
