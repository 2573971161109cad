"""Wallets of venues without questions of their own: asked through their adapter, as the gateway would.

In: settings and a wallet. Out: findings: whether the venue answers, its clock, the money there.
"""

from __future__ import annotations

import time

from common.errors import PolyexecError
from common.fixed import format_micros
from common.messages import QueryBalances
from common.settings import Settings, Wallet
from common.types import Outcome
from common.venues.capabilities import VenueKind, kind_of
from services.gateway.doctor import polymarket as judge
from services.gateway.doctor.findings import About, Code, Finding
from services.gateway.port import Adapter
from services.gateway.visitors import visit


async def other_findings(settings: Settings, row: Wallet) -> list[Finding]:
    about = About(row.name)
    try:
        async with visit(settings, row) as adapter:
            return await adapter_findings(adapter, row.name)
    except PolyexecError as error:
        return [about.fail(Code.ADAPTER, f"{row.venue} cannot be opened: {error}", "what it names is what to fix")]


async def adapter_findings(adapter: Adapter, wallet: str) -> list[Finding]:
    """What every adapter can be asked."""
    about = About(wallet)
    before_ns = time.time_ns()
    health = await adapter.health()
    if not health.ok:
        ours = kind_of(adapter.venue) is VenueKind.EXCHANGE
        fix = "scripts/start_all.sh starts it" if ours else "look at the network, and at the url of its row in [[ccxt]]"
        return [about.fail(Code.ADAPTER, f"{adapter.venue} does not answer: {health.text}", fix)]
    found = [about.ok(Code.ADAPTER, f"{adapter.venue} answers")]
    if health.clock_ns:
        found.append(judge.clock_finding(health.clock_ns, (before_ns + time.time_ns()) // 2))
    answer = await adapter.balances(QueryBalances("doctor", adapter.venue, wallet))
    told = f"{answer.code.value}: {answer.text}"
    if answer.outcome is Outcome.REFUSED:
        return [*found, about.fail(Code.MONEY, f"the venue refuses this wallet ({told})", "see its credentials")]
    if answer.outcome is not Outcome.DONE:
        return [*found, about.warn(Code.MONEY, f"the balance could not be read ({told})", "try again in a minute")]
    if not answer.cash:
        return [*found, about.warn(Code.MONEY, "there is no money to buy with", f"fund {wallet} at {adapter.venue}")]
    return [*found, about.ok(Code.MONEY, f"{format_micros(answer.cash)} to trade with")]
