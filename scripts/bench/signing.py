"""Create and sign one V2 limit order: ours against the official V2 client, with and without libsecp256k1 under it.

Out: one JSON object as the last line, medians in microseconds of rounds that are interleaved in one run. Ours is
amounts, struct, digest and signature; theirs is the same work, no JSON or network on either side. The pure client
runs in a child process on eth_keys' Python backend. Nothing is printed unless all three signed alike.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from common.types import Side
from common.venues.polymarket.amounts import limit_amounts
from common.venues.polymarket.orders import OrderV2, sign_order
from common.venues.polymarket.signing import Signer
from scripts.bench.official import CHAIN_ID, KEY, TOKEN, backend, order_maker, per_call_us

ROUNDS = 15
OURS_PER_ROUND, V2_PER_ROUND = 1_000, 60


def our_maker() -> Callable[[], str]:
    """One call creates and signs an order with a fresh salt and timestamp."""
    signer = Signer(bytes.fromhex(KEY[2:]))
    address, token_id = signer.address, int(TOKEN)
    salts = itertools.count(479_249_096_354)

    def create() -> str:
        maker, taker = limit_amounts(Side.BUY, 520_000, 10_000_000, 10_000)
        timestamp = time.time_ns() // 1_000_000
        order = OrderV2(next(salts), address, address, token_id, maker, taker, 0, 0, timestamp)
        return sign_order(order, signer, CHAIN_ID, False, 2)

    return create


def check_same_order(theirs: Mapping[str, object]) -> None:
    """Sign the very order the official client made; refuse to compare anything that is not equal."""
    number = {name: int(str(getattr(value, "value", value)), 0) for name, value in theirs.items() if name in _NUMBERS}
    order = OrderV2(
        number["salt"], str(theirs["maker"]), str(theirs["signer"]), number["tokenId"], number["makerAmount"],
        number["takerAmount"], number["side"], number["signatureType"], number["timestamp"],
    )  # fmt: skip
    if (order.maker_amount, order.taker_amount) != (5_200_000, 10_000_000):
        raise SystemExit("the official client made another order: the comparison would be unfair")
    if sign_order(order, Signer(bytes.fromhex(KEY[2:])), CHAIN_ID, False, 2) != theirs["signature"]:
        raise SystemExit("our signature differs from the official client's: nothing to measure")


_NUMBERS = frozenset({"salt", "tokenId", "makerAmount", "takerAmount", "side", "signatureType", "timestamp"})


class PureClient:
    """The child process seen from the parent."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "scripts.bench.official"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "ECC_BACKEND_CLASS": "eth_keys.backends.NativeECCBackend"},
        )
        hello = json.loads(self._answer())
        if hello["backend"] != "NativeECCBackend":
            raise SystemExit(f"the child signs with {hello['backend']}, not with pure Python")
        check_same_order(hello["order"])

    def round_us(self) -> float:
        assert self._child.stdin is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(timeout=10)
        if self._child.stdout is not None:
            self._child.stdout.close()

    def _answer(self) -> str:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit("the child process with the pure client ended early")
        return line


def measure(rounds: int) -> dict[str, float]:
    create, official_create = our_maker(), order_maker()
    if backend() != "CoinCurveECCBackend":
        raise SystemExit(f"the official client signs with {backend()}; install coincurve")
    check_same_order(vars(official_create()))
    samples: dict[str, list[float]] = {"ours": [], "v2": [], "pure": []}
    pure = PureClient()
    try:
        for _ in range(rounds):
            samples["ours"].append(per_call_us(create, OURS_PER_ROUND))
            samples["v2"].append(per_call_us(official_create, V2_PER_ROUND))
            samples["pure"].append(pure.round_us())
    finally:
        pure.close()
    ours_us, v2_us, pure_us = (median(samples[name]) for name in ("ours", "v2", "pure"))
    return {
        "ours_us": round(ours_us, 2),
        "v2_us": round(v2_us, 1),
        "v2_pure_us": round(pure_us, 1),
        "ratio": round(v2_us / ours_us, 2),
        "ratio_pure": round(pure_us / ours_us, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="create and sign one order: ours against the official V2 client")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    print(json.dumps(measure(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
