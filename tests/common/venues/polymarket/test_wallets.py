"""Contract wallets are computed as the official client computes them."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from common.venues.polymarket.signing import checksum_address
from common.venues.polymarket.wallets import (
    beacon_deposit_wallet,
    deposit_wallet,
    proxy_wallet,
    safe_wallet,
    wallets_of,
)

VECTORS = Path(__file__).parents[3] / "data" / "polymarket-vectors.json"


def test_the_recorded_wallets_of_one_owner() -> None:
    recorded = json.loads(VECTORS.read_text())["wallet_derivation"]
    owner = recorded["owner"]
    assert wallets_of(owner) == {
        0: (owner,),
        1: (recorded["proxy_sig1"],),
        2: (recorded["safe_sig2"],),
        3: (recorded["deposit_beacon_sig3"], recorded["deposit_uups_sig3"]),
    }


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=20, max_size=20))
def test_any_owner_gets_the_wallets_of_the_official_client(raw: bytes) -> None:
    from polymarket._internal import wallet as official
    from polymarket._internal.environment import PRODUCTION_CONFIG

    owner, config = checksum_address("0x" + raw.hex()), PRODUCTION_CONFIG.wallet_derivation
    assert proxy_wallet(owner) == official.derive_proxy_wallet_address(owner, config)
    assert safe_wallet(owner) == official.derive_safe_wallet_address(owner, config)
    assert deposit_wallet(owner) == official.derive_uups_deposit_wallet_address(owner, config)
    assert beacon_deposit_wallet(owner) == official.derive_beacon_deposit_wallet_address(owner, config)
