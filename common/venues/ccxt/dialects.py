"""Which exchanges of ccxt are spoken, and what differs between them. Pure data.

ccxt makes requests alike; what an error proves, which of its options fetch only spot, and how long an id is kept do
differ. An exchange trades here only when its errors are in a table: its name in `[[ccxt]]` is refused otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from common.errors import ConfigError
from common.venues.binance.errors import BinanceErrors
from common.venues.ccxt.answers import ErrorTable

RECV_WINDOW_MAX_MS: Final = 60_000


class Dialect(NamedTuple):
    errors: ErrorTable
    options: dict[str, object]
    """ccxt's options: spot markets only, nothing asked that we do not need, no warnings as exceptions."""
    only: Callable[[Sequence[str]], dict[str, object]]
    """What to add to the question for instruments so that only these symbols are answered."""
    recv_window: str = "recvWindow"
    """The option that bounds how late a request may still be taken."""
    page_max: int = 1_000
    window_ms: int = 24 * 3_600_000
    """How much time one page of trades may span."""


def _binance_symbols(symbols: Sequence[str]) -> dict[str, object]:
    return {"symbols": msgspec.json.encode([symbol.replace("/", "") for symbol in symbols]).decode()}


_BINANCE = Dialect(
    BinanceErrors(),
    {
        "defaultType": "spot",
        "fetchMarkets": {"types": ["spot"], "loadAllOptions": False},
        "fetchMargins": False,
        "fetchCurrencies": False,
        "adjustForTimeDifference": False,
        "fetchOpenOrders": {"warnWithoutSymbol": False},
        "warnOnFetchOpenOrdersWithoutSymbol": False,
    },
    _binance_symbols,
)
DIALECTS: Final[dict[str, Dialect]] = {"binance": _BINANCE, "binanceus": _BINANCE}


def dialect_of(exchange: str) -> Dialect:
    """Raises ConfigError naming what is spoken."""
    found = DIALECTS.get(exchange)
    if found is None:
        raise ConfigError("ccxt.exchange", f"{exchange!r} has no error table yet; spoken are {', '.join(DIALECTS)}")
    return found
