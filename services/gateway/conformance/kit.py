"""Runs the cases on a rig, one after the other; each has its time, and a broken one hides none of the others.

In: a rig that is open. Out: one Row for each case. What a case leaves open is cancelled before the next begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from common.errors import PolyexecError
from services.gateway.conformance.case import Broken, Case, DoesNotApply, Row, Verdict
from services.gateway.conformance.cases import CASES
from services.gateway.conformance.rig import Rig
from services.gateway.conformance.trial import Trial

CASE_S = 20.0
"""What one case may take, its polls included."""


async def run(rig: Rig, *, budget: int = 0, cases: Sequence[Case] = CASES) -> tuple[Trial, list[Row]]:
    """Every case in the order of the table."""
    trial = Trial(rig, budget=budget)
    try:
        return trial, [await _run_one(trial, case) for case in cases]
    except asyncio.CancelledError:
        await _swept(trial)  # whoever interrupts must not be left with open orders
        raise


async def _run_one(trial: Trial, case: Case) -> Row:
    began = time.monotonic()
    verdict, detail = await _verdict(trial, case)
    left = await _swept(trial)
    if left:
        verdict, detail = Verdict.FAIL, f"{detail}; afterwards {left}"
    took_ms = int((time.monotonic() - began) * 1000)
    return Row(case.number, case.key, case.title, case.rule, case.section, verdict, " ".join(detail.split()), took_ms)


async def _verdict(trial: Trial, case: Case) -> tuple[Verdict, str]:
    exempt = trial.rig.exempt.get(case.key)
    if exempt:
        return Verdict.NOT_APPLICABLE, exempt
    try:
        async with asyncio.timeout(CASE_S):
            return Verdict.PASS, await case.run(trial)
    except DoesNotApply as error:
        return Verdict.NOT_APPLICABLE, str(error)
    except TimeoutError:
        return Verdict.FAIL, f"it did not end within {CASE_S:g} s"
    except PolyexecError as error:
        return Verdict.FAIL, str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 (an adapter must raise nothing: whatever it raises is the finding)
        return Verdict.FAIL, f"the adapter raised {type(error).__name__}: {error}"


async def _swept(trial: Trial) -> str:
    try:
        async with asyncio.timeout(CASE_S):
            return await trial.sweep()
    except (PolyexecError, TimeoutError) as error:
        return f"the open orders could not be cancelled: {error or 'no answer'}"
