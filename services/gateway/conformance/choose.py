"""Which rig a name means, and whether it may be used: real money only with a wallet and a word.

In: settings and what was asked for. Out: a rig that is not open yet. Raises Refusal naming the option that is missing.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from common.errors import Refusal
from common.reasons import Reason
from common.settings import CcxtVenue, Mode, Settings, is_loopback
from services.gateway.conformance.rig import Rig

TEMPLATE = "template"
CCXT = "ccxt"
REAL = "https://of.the.exchange"
"""Where a row without a URL trades: at the exchange's own, wherever that is."""


class Wish(NamedTuple):
    """What was asked for. `budget` in micros, 0 is the default."""

    name: str
    wallet: str = ""
    market: str = ""
    budget: int = 0
    real_money: bool = False


def rig_for(settings: Settings, wish: Wish) -> Rig:
    """Imports only what the named venue needs."""
    rows = {row.name: row for row in settings.ccxt}
    if wish.name == TEMPLATE:
        from services.gateway.adapters.template.rig import PaperclipRig  # noqa: PLC0415

        return PaperclipRig()
    if wish.name == "polymarket":
        from services.gateway.conformance.rigs.polymarket import PolymarketRig  # noqa: PLC0415

        check_permitted(wish, settings.polymarket.clob_url)
        return PolymarketRig(settings, wallet=wish.wallet, market=wish.market)
    if wish.name == "exchange":
        return _exchange(settings, wish)
    if wish.name == CCXT or wish.name in rows:
        return _ccxt(settings, wish, rows.get(wish.name) or next(iter(rows.values()), None))
    known = ", ".join(["polymarket", "exchange", "ccxt", *rows, TEMPLATE])
    raise Refusal(Reason.UNKNOWN_VENUE, f"{wish.name[:40]!r} is no venue of the settings: {known}", "name")


def _exchange(settings: Settings, wish: Wish) -> Rig:
    if settings.mode is Mode.LIVE:
        raise Refusal(Reason.UNKNOWN_VENUE, "our own exchange does not run in live mode", "name")
    from services.gateway.conformance.rigs.exchange import ExchangeRig  # noqa: PLC0415

    return ExchangeRig(settings, market=wish.market)


def _ccxt(settings: Settings, wish: Wish, row: CcxtVenue | None) -> Rig:
    """A configured exchange trades with a wallet of the settings; the test venue brings its own."""
    if row is not None:
        check_permitted(wish, row.url or REAL)
        there = [wallet.name for wallet in settings.wallets if wallet.venue == row.name]
        if not (wish.wallet or there):
            raise Refusal(Reason.WALLET_NOT_READY, f"the settings have no wallet at {row.name}", "wallet")
        wish = wish._replace(wallet=wish.wallet or there[0])
    from services.gateway.conformance.rigs.ccxt import CcxtRig  # noqa: PLC0415 (ccxt is slow to load)

    return CcxtRig(settings, row, wallet=wish.wallet if row else "", market=wish.market)


def check_permitted(wish: Wish, url: str) -> None:
    """A venue off loopback trades for real: a wallet must be named, and the word said."""
    if is_loopback(urlsplit(url).hostname or ""):
        return
    if not wish.wallet:
        text = f"{wish.name} is a real venue: name the wallet that pays with --wallet"
        raise Refusal(Reason.BAD_REQUEST, text, "wallet")
    if not wish.real_money:
        text = f"this places, fills and cancels real orders with {wish.wallet}: say --yes-spend-real-money"
        raise Refusal(Reason.BAD_REQUEST, text, "yes_spend_real_money")
