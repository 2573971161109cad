"""The recorded vectors of the official clients, and how their names map to ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.venues.polymarket.orders import OrderV1, OrderV2
from common.venues.polymarket.signing import Signer

DATA = Path(__file__).parents[3] / "data"
SHARED = Path(__file__).parents[4].parent / "shared" / "fixtures" / "polymarket"

VECTORS: dict[str, Any] = json.loads((DATA / "polymarket-vectors.json").read_bytes())
CAPTURE: dict[str, Any] = json.loads((DATA / "polymarket-wire-capture.json").read_bytes())
README = VECTORS["README"]
KEY = bytes.fromhex(README["private_key"][2:])
SIGNER = Signer(KEY)
TOKEN, OTHER_TOKEN = README["token_ids"]
CREDS = VECTORS["api_creds_used"]

_NAMES = {
    "tokenId": "token_id",
    "makerAmount": "maker_amount",
    "takerAmount": "taker_amount",
    "signatureType": "signature_type",
    "feeRateBps": "fee_rate_bps",
}


def order_of(vector: dict[str, Any]) -> OrderV1 | OrderV2:
    fields = {_NAMES.get(name, name): value for name, value in vector["struct"].items()}
    return OrderV1(**fields) if "taker" in fields else OrderV2(**fields)


def micros(number: float | str) -> int:
    """Vectors spell prices as short JSON numbers; their shortest text is the number that was meant."""
    whole, _, fraction = str(number).partition(".")
    return int(whole + fraction.ljust(6, "0")[:6]) if len(fraction) <= 6 else int(round(float(number), 6) * 10**6)


def by_name(vectors: list[dict[str, Any]]) -> Callable[[Any], Any]:
    """`@by_name(vectors)`: one test per vector, called by its name."""
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])


def shared_fixture(name: str) -> bytes:
    path = SHARED / name
    if not path.exists():
        pytest.skip("the shared fixtures of public payloads are not beside this checkout")
    return path.read_bytes()
