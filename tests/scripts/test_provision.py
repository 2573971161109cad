"""Secrets become 0600 files, are never replaced by accident, and leave the environment."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.secrets import read_secret
from common.settings import Mode, Settings
from common.venues.polymarket.credentials import parse_credentials, parse_wallet_key
from scripts.preflight import check_secrets, secret_files
from scripts.provision import GivenSecrets, provision, take_secrets
from services.polymarket_sim.keys import open_key, parse_server_secret
from tests.scripts.conftest import MakeSettings

KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
GIVEN = GivenSecrets(KEY, "0000-key", "c2VjcmV0LXNlY3JldA==", "pass")


def content_of(settings: Settings, name: str) -> bytes:
    return read_secret(settings.paths.secrets_dir / name, field="secret")


def test_the_demo_gets_every_secret_it_needs(make_settings: MakeSettings) -> None:
    settings = make_settings()

    provision(settings, GivenSecrets())

    check_secrets(settings)
    for path, _ in secret_files(settings):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.paths.secrets_dir.stat().st_mode) == 0o700


def test_the_credentials_are_those_the_local_venue_will_accept(make_settings: MakeSettings) -> None:
    settings = make_settings()

    provision(settings, GivenSecrets())

    signer = parse_wallet_key(content_of(settings, "main.key"), "main.key")
    creds, address = parse_credentials(content_of(settings, "main.gateway.creds"), "main.gateway.creds")
    venue_secret = parse_server_secret(content_of(settings, "polymarket_sim.secret"), "polymarket_sim.secret")
    opened = open_key(venue_secret, creds.key, creds.passphrase)
    assert opened is not None
    assert (opened.name.address, opened.name.nonce, opened.secret) == (signer.address, 0, creds.secret)
    assert address == signer.address


def test_a_second_start_changes_nothing(make_settings: MakeSettings) -> None:
    settings = make_settings()
    provision(settings, GivenSecrets())
    before = {path: path.read_bytes() for path, _ in secret_files(settings)}

    assert provision(settings, GivenSecrets()) == []
    assert {path: path.read_bytes() for path, _ in secret_files(settings)} == before


def test_a_lost_venue_secret_gives_new_credentials_for_the_same_wallet(make_settings: MakeSettings) -> None:
    settings = make_settings()
    provision(settings, GivenSecrets())
    key, creds = content_of(settings, "main.key"), content_of(settings, "main.gateway.creds")
    (settings.paths.secrets_dir / "polymarket_sim.secret").unlink()

    provision(settings, GivenSecrets())

    assert content_of(settings, "main.key") == key
    assert content_of(settings, "main.gateway.creds") != creds
    assert content_of(settings, "main.gateway.creds") == content_of(settings, "main.user_data.creds")


def test_two_demos_have_different_wallets(make_settings: MakeSettings, tmp_path: Path) -> None:
    first = make_settings()
    provision(first, GivenSecrets())
    key = content_of(first, "main.key")
    second = first.model_copy(update={"paths": first.paths.model_copy(update={"secrets_dir": tmp_path / "other"})})

    provision(second, GivenSecrets())

    assert content_of(second, "main.key") != key


def test_a_secret_readable_by_others_is_refused_with_the_fix(make_settings: MakeSettings) -> None:
    settings = make_settings()
    provision(settings, GivenSecrets())
    (settings.paths.secrets_dir / "main.key").chmod(0o644)

    with pytest.raises(ConfigError, match=r"chmod 600 /.*/main\.key"):
        provision(settings, GivenSecrets())


def test_a_real_key_is_not_stored_for_a_simulated_venue(make_settings: MakeSettings) -> None:
    settings = make_settings()

    lines = provision(settings, GIVEN)

    assert any("not used" in line for line in lines)
    assert content_of(settings, "main.key") != KEY.encode()


def test_live_secrets_of_the_environment_become_files(make_settings: MakeSettings) -> None:
    settings = make_settings(mode=Mode.LIVE)

    lines = provision(settings, GIVEN)

    check_secrets(settings)
    assert content_of(settings, "main.key") == KEY.encode()
    shown = json.loads(content_of(settings, "main.user_data.creds"))
    assert (shown["apiKey"], shown["passphrase"]) == ("0000-key", "pass")
    assert shown["address"] == parse_wallet_key(KEY.encode(), "key").address
    assert not any(value in line for line in lines for value in GIVEN)


def test_live_needs_all_secrets_or_none(make_settings: MakeSettings) -> None:
    settings = make_settings(mode=Mode.LIVE)

    with pytest.raises(ConfigError, match="POLYMARKET_PASSPHRASE: is missing"):
        provision(settings, GIVEN._replace(passphrase=""))

    assert not (settings.paths.secrets_dir / "main.key").exists()


def test_live_never_replaces_a_private_key(make_settings: MakeSettings) -> None:
    settings = make_settings(mode=Mode.LIVE)
    provision(settings, GIVEN)

    with pytest.raises(ConfigError, match="differs from"):
        provision(settings, GIVEN._replace(private_key="11" * 32))

    assert content_of(settings, "main.key") == KEY.encode()


def test_live_without_secrets_names_the_missing_file(make_settings: MakeSettings) -> None:
    settings = make_settings(mode=Mode.LIVE)

    assert provision(settings, GivenSecrets()) == []
    with pytest.raises(ConfigError, match=r"main\.key: the private key of wallet main"):
        check_secrets(settings)


def test_secrets_leave_the_environment() -> None:
    environ = {"PATH": "/bin", "POLYMARKET_PRIVATE_KEY": f" {KEY}\n", "POLYMARKET_ANYTHING": "x"}

    given = take_secrets(environ)

    assert environ == {"PATH": "/bin"}
    assert given == GivenSecrets(private_key=KEY)
    assert given.any()
    assert not GivenSecrets().any()


def test_given_secrets_do_not_show_in_a_repr() -> None:
    assert KEY not in repr(GIVEN)
