"""The exchange accounts of a signer's wallets. Pure; which wallets a key has is common/venues/polymarket/wallets.py.

In: an address. Out: account names. It does not know whether a wallet was ever used.
"""

from __future__ import annotations

from common.venues.polymarket.wallets import proxy_wallet, wallets_of

__all__ = ["account_of", "accounts_of", "proxy_wallet", "wallets_of"]


def account_of(address: str) -> str:
    """The exchange account of a wallet: its address in lower case."""
    return address.lower()


def accounts_of(signer: str) -> tuple[str, ...]:
    """Every account a signer could own, its own address first."""
    return tuple(account_of(wallet) for wallets in wallets_of(signer).values() for wallet in wallets)
