"""`python -m services.gateway.doctor [--wallet NAME] [--derive]`: findings as one JSON object, for `polyexec doctor`.

In: settings and secret files. Out: a Report on standard output; exit 0 when it can trade, 1 when not. It works while
the group is down, and when the gateway refuses to start.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import msgspec

from common.errors import ConfigError, ExitCode
from common.process import harden
from common.settings import Settings, Wallet, load_settings
from services.gateway.doctor.derive import derive
from services.gateway.doctor.examine import Venue
from services.gateway.doctor.findings import About, Code, Finding, Report, report_of
from services.gateway.doctor.local import machine_findings, wallet_files
from services.gateway.doctor.others import other_findings
from services.gateway.polymarket import VENUE

CANNOT_TRADE = 1


async def examine(settings: Settings, rows: Sequence[Wallet], *, anew: bool) -> list[Finding]:
    """Every finding; one that FAILs hides no later one."""
    findings = machine_findings(settings)
    ours = [row for row in rows if row.venue == VENUE]
    if ours:
        findings += await _polymarket(settings, ours, anew=anew)
    for row in rows:
        if row.venue != VENUE:
            findings += await other_findings(settings, row)
    return findings


async def _polymarket(settings: Settings, rows: Sequence[Wallet], *, anew: bool) -> list[Finding]:
    venue = Venue(settings)
    try:
        derived = [await _derived(settings, venue, row) for row in rows] if anew else []
        findings = [*derived, *await venue.public()]
        for row in rows:
            files = wallet_files(settings, row)
            findings += [*files.findings, *await venue.private(files)]
        return findings
    finally:
        await venue.close()


async def _derived(settings: Settings, venue: Venue, row: Wallet) -> Finding:
    signer = wallet_files(settings, row).signer
    if signer is None:
        return About(row.name).skipped(Code.CREDENTIALS, "nothing can be derived without the key")
    return await derive(settings, venue.http, row.name, signer)


def check(wallet: str, *, anew: bool = False) -> Report:
    try:
        settings = load_settings()
    except ConfigError as error:
        fix = "correct the key it names in the settings file or the environment (docs/settings.md)"
        return report_of("", [About().fail(Code.SETTINGS, f"the settings cannot be used: {error}", fix)])
    rows = [row for row in settings.wallets if wallet in ("", row.name)]
    names = ", ".join(row.name for row in rows)
    told = About().ok(Code.SETTINGS, f"settings for {settings.mode.value} mode; looking at: {names}")
    if not rows:
        known = ", ".join(row.name for row in settings.wallets) or "none"
        told = About(wallet).fail(Code.SETTINGS, f"the settings have no wallet {wallet!r}", f"name one of: {known}")
    return report_of(settings.mode.value, [told, *asyncio.run(examine(settings, rows, anew=anew))])


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.gateway.doctor")
    parser.add_argument("--wallet", default="")
    parser.add_argument("--derive", action="store_true")
    given = parser.parse_args(argv)
    harden()
    report = check(given.wallet, anew=given.derive)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    return ExitCode.OK if report.ok else CANNOT_TRADE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
