"""Keys and credentials are loaded from private files, or the process says which file is wrong and how to mend it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.messages import Message, SignerReady
from common.secrets import write_secret
from common.settings import Settings
from services.gateway.polymarket import VenueWallet, cancel_request
from services.gateway.wallets import load_wallets, open_wallets
from tests.services.fake_edge import FakeEdge, settings_for
from tests.services.gateway.orders import ADDRESS, API_KEY, CREDS, KEY, pinned_order


def creds(**changes: str) -> bytes:
    content = {"apiKey": API_KEY, "secret": CREDS.secret, "passphrase": CREDS.passphrase, "address": ADDRESS}
    return json.dumps(content | changes).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_secret(tmp_path / "main.key", KEY.hex().encode())
    write_secret(tmp_path / "main.gateway.creds", creds())
    return tmp_path


def test_each_wallet_gets_its_key_and_its_credentials(folder: Path) -> None:
    wallets = load_wallets(settings_for(folder))
    assert [wallet.ready().api_key for wallet in wallets.values()] == [API_KEY]
    assert wallets["main"].ready().maker == ADDRESS
    write_secret(folder / "main.key", b"0x" + KEY.hex().encode() + b"\n")
    assert load_wallets(settings_for(folder))["main"].signer.address == ADDRESS


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("main.key", b"hello", "64 hex digits"),
        ("main.key", b"00" * 32, "private key"),
        ("main.key", b"11" * 31, "32 bytes"),
        ("main.key", b"11" * 32, "derive the credentials anew"),
        ("main.gateway.creds", b"hello", "apiKey"),
        ("main.gateway.creds", creds(secret=""), "empty"),
        ("main.gateway.creds", creds(secret="a"), "base64"),
        ("main.gateway.creds", creds(address="0x12"), "address"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_without_its_content(
    folder: Path, file: str, content: bytes, says: str
) -> None:
    write_secret(folder / file, content)
    with pytest.raises(ConfigError, match=says) as caught:
        load_wallets(settings_for(folder))
    assert "main." in caught.value.key
    assert CREDS.secret not in str(caught.value)
    assert content.decode() not in str(caught.value)


@pytest.mark.parametrize("file", ["main.key", "main.gateway.creds"])
def test_a_missing_or_open_file_is_named_with_the_fix(folder: Path, file: str) -> None:
    (folder / file).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        load_wallets(settings_for(folder))
    assert caught.value.key.endswith(file)
    (folder / file).unlink()
    with pytest.raises(ConfigError, match="0600"):
        load_wallets(settings_for(folder))


# --- with a signer process ---


class SignerEdge(FakeEdge):
    """The signer process says whose key it has."""

    address = ADDRESS

    async def request(self, owner: str, body: Message, *, timeout_s: float = 5.0) -> Message:
        del body, timeout_s
        assert owner == "signer"
        return SignerReady("r", "main", self.address)


def with_process(folder: Path) -> Settings:
    settings = settings_for(folder)
    return settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"signer": "process"})})


async def test_with_a_signer_process_no_key_file_is_read(folder: Path) -> None:
    (folder / "main.key").unlink()
    wallets = await open_wallets(SignerEdge("gateway", with_process(folder)).as_edge())
    assert wallets["main"].ready().signer == ADDRESS
    assert wallets["main"].signer.sign_now(pinned_order()) is None


async def test_without_one_the_keys_are_here(folder: Path) -> None:
    wallets = await open_wallets(FakeEdge("gateway", settings_for(folder)).as_edge())
    assert wallets["main"].signer.sign_now(pinned_order()) is not None


async def test_credentials_of_another_address_than_the_signers_are_refused(folder: Path) -> None:
    edge = SignerEdge("gateway", with_process(folder))
    edge.address = "0x" + "11" * 20
    with pytest.raises(ConfigError, match="derive the credentials anew") as caught:
        await open_wallets(edge.as_edge())
    assert caught.value.key.endswith("main.gateway.creds")


def test_no_repr_of_a_wallet_or_its_parts_shows_a_secret(folder: Path) -> None:
    wallet = load_wallets(settings_for(folder))["main"]
    request = cancel_request(["0x" + "11" * 32], wallet, 1_790_000_000)
    assert CREDS.passphrase in request.headers.values()
    shown = repr([wallet, request, *(getattr(wallet, name) for name in VenueWallet.__slots__)])
    for secret in (KEY.hex(), repr(KEY), CREDS.secret, CREDS.passphrase):
        assert secret not in shown
