"""`python -m services.gateway.conformance NAME [--json]`: the cases on one venue, in a process of its own.

In: the name of a venue, options, settings. Out: a numbered table or one JSON object; exit 0 when all that applies
passed, 1 when a case failed. What stands in the way of trying (no venue, no money, no permission) is one error.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import msgspec

from common.errors import ConfigError, ExitCode, PolyexecError, Refusal
from common.fixed import parse_micros
from common.process import harden
from common.settings import load_settings
from services.gateway.conformance import kit
from services.gateway.conformance.case import Report, report_of
from services.gateway.conformance.choose import Wish, rig_for
from services.gateway.conformance.table import report_text

FAILED = 1
INTERRUPTED = 130


async def check(wish: Wish) -> Report:
    rig = rig_for(load_settings(), wish)
    try:
        await rig.open()
        trial, rows = await kit.run(rig, budget=wish.budget)
        names = [instrument.name for instrument in trial.instruments.values()]
        return report_of(wish.name, rig.wallet, rig.note, names, rows)
    finally:
        await rig.close()


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.gateway.conformance")
    parser.add_argument("name")
    parser.add_argument("--market", default="")
    parser.add_argument("--wallet", default="")
    parser.add_argument("--budget", default="0")
    parser.add_argument("--yes-spend-real-money", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    harden()
    try:
        budget = parse_micros(given.budget, "budget")
        wish = Wish(given.name, given.wallet, given.market, budget, real_money=given.yes_spend_real_money)
        report = asyncio.run(check(wish))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Refusal as error:
        return _fail(given.json, ExitCode.REFUSED, error.code.value, error.message, error.field)
    except ConfigError as error:
        return _fail(given.json, ExitCode.CONFIG, "CONFIG", str(error), error.key)
    except PolyexecError as error:
        return _fail(given.json, ExitCode.UNAVAILABLE, "UNAVAILABLE", str(error), "")
    sys.stdout.write((msgspec.json.encode(report).decode() if given.json else report_text(report)) + "\n")
    return ExitCode.OK if report.ok else FAILED


def _fail(as_json: bool, exit_code: ExitCode, code: str, message: str, field: str) -> int:
    message = " ".join(message.split())
    if not as_json:
        print(f"error: {f'{field}: ' if field else ''}{message} [{code}]", file=sys.stderr)
        return exit_code
    error = {"code": code, "message": message} | ({"field": field} if field else {})
    sys.stdout.write(msgspec.json.encode({"error": error}).decode() + "\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
