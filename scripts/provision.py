"""Secrets as 0600 files before anything is spawned: made for the demo, taken out of the environment for live.

In: settings and the environment. Out: files in `paths.secrets_dir`, and an environment without secrets. A file that is
there is never replaced, except API credentials that do not belong to the wallet or the venue secret beside them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import MutableMapping
from pathlib import Path
from typing import NamedTuple

from common.errors import ConfigError
from common.secrets import read_secret, write_secret
from common.settings import Mode, Settings, Wallet
from common.venues.capabilities import VenueKind
from common.venues.polymarket.credentials import parse_wallet_key
from common.venues.polymarket.signing import Signer
from services.polymarket_sim.keys import SECRET_FILE, KeyName, derive_key, parse_server_secret

PRIVATE_KEY = "POLYMARKET_PRIVATE_KEY"
API_KEY = "POLYMARKET_API_KEY"
API_SECRET = "POLYMARKET_API_SECRET"
PASSPHRASE = "POLYMARKET_PASSPHRASE"
SECRET_NAMES = (PRIVATE_KEY, API_KEY, API_SECRET, PASSPHRASE)
SECRET_PREFIX = "POLYMARKET_"

CREDS_READERS = ("gateway", "user_data")
"""The processes that hold a copy of a wallet's API credentials of their own."""


class GivenSecrets(NamedTuple):
    """What the environment held; "" is not given. Never printed."""

    private_key: str = ""
    api_key: str = ""
    api_secret: str = ""
    passphrase: str = ""

    def __repr__(self) -> str:
        return "GivenSecrets(***)"

    def any(self) -> bool:
        return any(self)


def take_secrets(environ: MutableMapping[str, str]) -> GivenSecrets:
    """Read the known secrets and remove every variable that could hold one."""
    given = GivenSecrets(*(environ.get(name, "").strip() for name in SECRET_NAMES))
    for name in [name for name in environ if name.startswith(SECRET_PREFIX)]:
        del environ[name]
    return given


def provision(settings: Settings, given: GivenSecrets) -> list[str]:
    """Make the secret files this mode can make; returns what was done, in words without values."""
    if settings.mode is not Mode.LIVE:
        # A real key has no business at a simulated venue: it is dropped, not stored.
        note = ["POLYMARKET_ variables are not used in this mode"] if given.any() else []
        simulated = [wallet for wallet in settings.wallets if wallet.venue == VenueKind.POLYMARKET]
        return note + [line for wallet in simulated for line in _simulated(settings, wallet)]
    return _store(settings, given) if given.any() else []


def key_file(settings: Settings, wallet: Wallet) -> Path:
    return settings.paths.secrets_dir / f"{wallet.name}.key"


def creds_file(settings: Settings, wallet: Wallet, process: str) -> Path:
    return settings.paths.secrets_dir / f"{wallet.name}.{process}.creds"


def _simulated(settings: Settings, wallet: Wallet) -> list[str]:
    """A random key, and the API credentials the local venue will derive for its address."""
    done = []
    path = key_file(settings, wallet)
    if not path.exists():
        write_secret(path, secrets.token_bytes(32).hex().encode())
        done.append(f"made a random key for wallet {wallet.name}")
    signer = parse_wallet_key(read_secret(path, field="wallet key"), str(path))
    content = _derived(_venue_secret(settings), signer)
    for process in CREDS_READERS:
        if _write_changed(creds_file(settings, wallet, process), content):
            done.append(f"made API credentials of wallet {wallet.name} for {process}")
    return done


def _venue_secret(settings: Settings) -> bytes:
    path = settings.paths.secrets_dir / SECRET_FILE
    if not path.exists():
        write_secret(path, secrets.token_bytes(32).hex().encode())
    return parse_server_secret(read_secret(path, field="secret of the local venue"), str(path))


def _derived(venue_secret: bytes, signer: Signer) -> bytes:
    return _creds(derive_key(venue_secret, KeyName(signer.address, 0)).to_wire(), signer.address)


def _store(settings: Settings, given: GivenSecrets) -> list[str]:
    """Secrets of the environment into the files of the one wallet. Raises ConfigError for what is missing."""
    for name, value in zip(SECRET_NAMES, given, strict=True):
        if not value:
            raise ConfigError(name, f"is missing: give all of {', '.join(SECRET_NAMES)}, or none and use files")
    wallets = [wallet for wallet in settings.wallets if wallet.venue == VenueKind.POLYMARKET]
    if len(wallets) != 1:
        text = "secrets in the environment need exactly one wallet of the venue polymarket: write files instead"
        raise ConfigError("wallets", text)
    wallet = wallets[0]
    signer = parse_wallet_key(given.private_key.encode(), PRIVATE_KEY)
    content = _creds(
        {"apiKey": given.api_key, "secret": given.api_secret, "passphrase": given.passphrase}, signer.address
    )
    _write_once(key_file(settings, wallet), given.private_key.encode())
    for process in CREDS_READERS:
        _write_changed(creds_file(settings, wallet, process), content)
    return [f"wrote the secrets of wallet {wallet.name} from the environment into {settings.paths.secrets_dir}"]


def _write_once(path: Path, content: bytes) -> None:
    """A private key is never overwritten by another one."""
    if path.exists():
        if read_secret(path, field="wallet key") != content:
            raise ConfigError(PRIVATE_KEY, f"differs from {path}: remove the file, or the variable")
        return
    write_secret(path, content)


def _write_changed(path: Path, content: bytes) -> bool:
    if path.exists() and read_secret(path, field="API credentials") == content:
        return False
    write_secret(path, content)
    return True


def _creds(members: dict[str, str], address: str) -> bytes:
    return json.dumps(members | {"address": address}).encode()
