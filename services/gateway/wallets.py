"""Wallet keys and API credentials from their 0600 files. Nobody else in the group reads the keys.

In: settings. Out: one VenueWallet for each wallet of this venue. A file that is missing, open to others or unreadable
is a ConfigError naming the file and the fix; the process does not start without all of them.
"""

from __future__ import annotations

from common.errors import ConfigError
from common.secrets import read_secret
from common.settings import Settings, Wallet
from common.venues.polymarket.credentials import parse_credentials, parse_wallet_key
from services.gateway.polymarket import VENUE, VenueWallet


def load_wallets(settings: Settings) -> dict[str, VenueWallet]:
    return {row.name: _load(row, settings) for row in settings.wallets if row.venue == VENUE}


def _load(row: Wallet, settings: Settings) -> VenueWallet:
    key_file = settings.paths.secrets_dir / f"{row.name}.key"
    creds_file = settings.paths.secrets_dir / f"{row.name}.gateway.creds"
    signer = parse_wallet_key(read_secret(key_file, field="wallet key"), str(key_file))
    creds, address = parse_credentials(read_secret(creds_file, field="API credentials"), str(creds_file))
    if address != signer.address:
        text = f"belongs to {address}, but {key_file.name} is the key of {signer.address}: derive the credentials anew"
        raise ConfigError(str(creds_file), text)
    return VenueWallet(
        row.name,
        signer,
        creds,
        funder=row.funder,
        signature_type=row.signature_type,
        chain_id=settings.polymarket.chain_id,
    )
