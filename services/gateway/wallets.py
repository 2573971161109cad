"""Wallet keys and API credentials from their 0600 files. Nobody else in the group reads the keys.

In: settings. Out: one VenueWallet for each wallet of this venue. With `gateway.signer = "process"` the keys are read
by the signer process alone, which is asked for their addresses. A file that is missing, open to others or unreadable,
or credentials of another address, is a ConfigError naming the file and the fix; the process does not start without
all of them.
"""

from __future__ import annotations

from pathlib import Path

from common.edge import Edge
from common.errors import ConfigError
from common.secrets import read_secret, read_secret_buffer
from common.settings import Settings, Wallet
from common.venues.polymarket.credentials import parse_credentials, parse_wallet_key
from services.gateway.polymarket import VENUE, VenueWallet
from services.gateway.port import OrderSigner
from services.gateway.signers import InsideSigner, ProcessSigner, ask_address


async def open_wallets(edge: Edge) -> dict[str, VenueWallet]:
    """The wallets, with their signers where the settings want them."""
    settings = edge.settings
    if settings.gateway.signer != "process":
        return load_wallets(settings)
    wallets = {}
    for row in _rows(settings):
        signer = ProcessSigner(edge, row.name, await ask_address(edge, row.name))
        wallets[row.name] = _wallet(row, signer, settings, "the signer process")
    return wallets


def load_wallets(settings: Settings) -> dict[str, VenueWallet]:
    """The wallets with their keys in this process."""
    wallets = {}
    for row in _rows(settings):
        file = _key_file(row, settings)
        signer = InsideSigner(parse_wallet_key(read_secret_buffer(file, field="wallet key"), str(file)))
        wallets[row.name] = _wallet(row, signer, settings, file.name)
    return wallets


def _rows(settings: Settings) -> list[Wallet]:
    return [row for row in settings.wallets if row.venue == VENUE]


def _key_file(row: Wallet, settings: Settings) -> Path:
    return settings.paths.secrets_dir / f"{row.name}.key"


def _wallet(row: Wallet, signer: OrderSigner, settings: Settings, holder: str) -> VenueWallet:
    file = settings.paths.secrets_dir / f"{row.name}.gateway.creds"
    creds, address = parse_credentials(read_secret(file, field="file of API credentials"), str(file))
    if address != signer.address:
        text = f"belongs to {address}, but {holder} has the key of {signer.address}: derive the credentials anew"
        raise ConfigError(str(file), text)
    return VenueWallet(
        row.name,
        signer,
        creds,
        funder=row.funder,
        signature_type=row.signature_type,
        chain_id=settings.polymarket.chain_id,
    )
