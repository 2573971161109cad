"""The official V2 client creating and signing one limit order; as a program, the child that times it on request.

In: one line per round on standard input. Out: first a line naming the key backend and the order it made, then
microseconds per call. Which backend signs is the environment's choice (ECC_BACKEND_CLASS, read by eth_keys), so
nothing is patched.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from eth_keys.backends import get_backend
from py_clob_client_v2.clob_types import CreateOrderOptions, OrderArgsV2
from py_clob_client_v2.order_builder.builder import OrderBuilder
from py_clob_client_v2.signer import Signer

KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""The well-known public test key; it holds nothing."""
TOKEN = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
CHAIN_ID = 137
CALLS_PER_ROUND = 10


def order_maker() -> Callable[[], Any]:
    """One call builds and signs a BUY of 10 at 0.52, without JSON or network."""
    builder = OrderBuilder(Signer(KEY, CHAIN_ID))
    options = CreateOrderOptions(tick_size="0.01", neg_risk=False)
    arguments = OrderArgsV2(token_id=TOKEN, price=0.52, size=10, side="BUY")
    return lambda: builder.build_order(arguments, options, version=2)


def backend() -> str:
    """The class that signs for eth_account in this process."""
    return type(get_backend()).__name__


def per_call_us(call: Callable[[], object], times: int) -> float:
    started = time.perf_counter_ns()
    for _ in range(times):
        call()
    return (time.perf_counter_ns() - started) / times / 1_000


def main() -> None:
    create = order_maker()
    members = {name: str(getattr(value, "value", value)) for name, value in vars(create()).items()}
    print(json.dumps({"backend": backend(), "order": members}), flush=True)
    for _ in sys.stdin:
        print(per_call_us(create, CALLS_PER_ROUND), flush=True)


if __name__ == "__main__":
    main()
