"""The server's side of Binance spot's REST dialect: parameters read strictly, numbers written as it writes them. Pure.

In: the parameters of a request as text. Out: values, or Denied with the status, code and sentence the venue answers.
Prices, quantities and balances are integers of 10^-8, the venue's own unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

UNIT: Final = 10**8
ID_PATTERN: Final = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
DECIMAL_PATTERN: Final = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
INT_PATTERN: Final = r"^[0-9]{1,20}$"

Params = Mapping[str, str]


class Denied(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, text: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code}: {text}")
        self.status = status
        self.code = code
        self.text = text
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        return {"code": self.code, "msg": self.text}


def required(params: Params, name: str) -> str:
    value = params.get(name, "")
    if not value:
        raise Denied(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return value


def matching(name: str, value: str, pattern: str) -> str:
    if re.fullmatch(pattern[1:-1], value, re.ASCII) is None:
        raise Denied(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'.")
    return value


def decimal(params: Params, name: str) -> int:
    """A positive decimal in units of 10^-8."""
    whole, _, fraction = matching(name, required(params, name), DECIMAL_PATTERN).partition(".")
    if fraction[8:].strip("0"):
        raise Denied(-1111, f"Parameter '{name}' has too much precision.")
    return int(whole) * UNIT + int(fraction[:8].ljust(8, "0"))


def integer(params: Params, name: str, default: int | None = None) -> int:
    value = params.get(name, "")
    if not value and default is not None:
        return default
    return int(matching(name, required(params, name), INT_PATTERN))


def word(params: Params, name: str, known: Mapping[str, object] | frozenset[str], code: int, text: str) -> str:
    value = required(params, name)
    if value not in known:
        raise Denied(code, text)
    return value


def text_of(units: int) -> str:
    """Eight decimals, always."""
    return f"{units // UNIT}.{units % UNIT:08d}"


def product(price: int, quantity: int) -> int:
    """Money of a price and a quantity; what is below 10^-8 is not paid."""
    return price * quantity // UNIT
