"""Settings: every key checked, every refusal names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from common.settings import ROOT, Settings, config_file, is_loopback, load_settings

DEMO = ROOT / "deploy" / "config" / "demo.toml"


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("POLYEXEC_"):
            monkeypatch.delenv(name)


def test_the_demo_file_is_complete_and_valid() -> None:
    settings = load_settings(DEMO)
    assert settings.mode.value == "demo"
    assert settings.wallet_of("default") is not None
    assert settings.wallet_of("nobody") is None


def test_the_demo_file_names_every_key_with_its_default() -> None:
    """One complete file per mode: a reader of the file sees every setting there is."""
    import tomllib

    written = tomllib.loads(DEMO.read_text())
    loaded = load_settings(DEMO)
    for section in Settings.model_fields:
        value = getattr(loaded, section)
        if hasattr(type(value), "model_fields"):
            assert set(written[section]) == set(type(value).model_fields), section


def test_the_environment_overrides_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYEXEC_MIRROR__SPEED", "20")
    assert load_settings(DEMO).mirror.speed == 20


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("POLYEXEC_MIRROR__SPED", "5", "mirror.sped"),
        ("POLYEXEC_MIROR__SPEED", "5", "POLYEXEC_MIROR__SPEED"),
        ("POLYEXEC_MIRROR__SPEED", "fast", "mirror.speed"),
        ("POLYEXEC_MIRROR__SPEED", "0", "mirror.speed"),
        ("POLYEXEC_POLYMARKET_SIM__PORT", "70000", "polymarket_sim.port"),
        ("POLYEXEC_POLYMARKET_SIM__CONTROL_PORT", "8090", "polymarket_sim.control_port"),
        ("POLYEXEC_EXCHANGE__CONFIRMED_DELAY_MS", "1", "exchange.confirmed_delay_ms"),
        ("POLYEXEC_MARKET_DATA__DEAD_AFTER_S", "5", "market_data.dead_after_s"),
        ("POLYEXEC_POLYMARKET__CLOB_URL", "http://example.org", "polymarket.clob_url"),
        ("POLYEXEC_POLYMARKET__CLOB_URL", "ftp://127.0.0.1", "polymarket.clob_url"),
        ("POLYEXEC_POLYMARKET__CLOB_URL", "http://127.0.0.1:99999", "polymarket.clob_url"),
        ("POLYEXEC_POLYMARKET_SIM__HOST", "0.0.0.0", "polymarket_sim.host"),
        ("POLYEXEC_MIRROR", "fast", "POLYEXEC_MIRROR"),
        ("POLYEXEC_mirror__speed", "5", "POLYEXEC_mirror__speed"),
        ("polyexec_miror__speed", "5", "polyexec_miror__speed"),
        ("POLYEXEC_WALLETS", '[{"name": "../main"}]', "wallets.0.name"),
        ("POLYEXEC_WALLETS", '[{"name": "main", "venue": "kalshi"}]', "wallets"),
        ("POLYEXEC_WALLETS", '[{"name": "main", "funder": "0x12"}]', "wallets.0.funder"),
        ("POLYEXEC_WALLETS", '[{"name": "main", "signature_type": 2}]', "wallets.0"),
        ("POLYEXEC_GATEWAY__SIGNER", "somewhere", "gateway.signer"),
        ("POLYEXEC_SIGNER__NOTIONAL_PER_MINUTE", "-1", "signer.notional_per_minute"),
        ("POLYEXEC_SIGNER__NOTIONAL_PER_MINUTE", "1e3", "signer.notional_per_minute"),
        ("POLYEXEC_SIGNER__NOTIONAL_PER_MINUTE", "", "signer.notional_per_minute"),
        ("POLYEXEC_MODE", "fantasy", "mode"),
    ],
)
def test_a_bad_value_is_refused_with_its_key(monkeypatch: pytest.MonkeyPatch, name: str, value: str, key: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        load_settings(DEMO)
    assert refused.value.key == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("mode = 'demo'\nsurprise = 1", "surprise"),
        ("mode = ", "bad.toml"),
        ("mode = 'demo'", "polymarket"),
    ],
)
def test_a_bad_file_is_refused_with_the_file_or_key(tmp_path: Path, text: str, key: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_settings(file)
    assert key in refused.value.key


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="POLYEXEC_CONFIG"):
        load_settings(tmp_path / "none.toml")


def test_relations_between_accounts_and_wallets_hold(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(DEMO.read_text().replace('wallet = "main"', 'wallet = "other"'))
    with pytest.raises(ConfigError, match="unknown wallet"):
        load_settings(file)


def test_a_word_that_is_none_of_a_list_is_answered_with_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYEXEC_GATEWAY__ON_SHUTDOWN", "cancel")

    with pytest.raises(ConfigError, match=r"gateway\.on_shutdown: must be one of leave, cancel_all"):
        load_settings()


def test_a_signer_runs_when_the_keys_have_a_process_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "signer" not in load_settings(DEMO).processes
    monkeypatch.setenv("POLYEXEC_GATEWAY__SIGNER", "process")
    monkeypatch.setenv("POLYEXEC_SIGNER__NOTIONAL_PER_MINUTE", "12.5")
    found = load_settings(DEMO)
    assert found.processes.index("signer") < found.processes.index("gateway")
    assert found.signer.limit == 12_500_000


def test_a_deposit_wallet_needs_version_2(monkeypatch: pytest.MonkeyPatch) -> None:
    row = '[{"name": "main", "signature_type": 3, "funder": "0x' + "11" * 20 + '"}]'
    monkeypatch.setenv("POLYEXEC_WALLETS", row)
    assert load_settings(DEMO).wallets[0].signature_type == 3
    monkeypatch.setenv("POLYEXEC_POLYMARKET__PROTOCOL_VERSION", "1")
    with pytest.raises(ConfigError, match="signature_type 3") as refused:
        load_settings(DEMO)
    assert refused.value.key == "wallets"


def test_the_mode_chooses_the_file() -> None:
    assert config_file({}).name == "demo.toml"
    assert config_file({"POLYEXEC_MODE": "live"}).name == "live.toml"
    assert config_file({"POLYEXEC_CONFIG": "/x/y.toml"}) == Path("/x/y.toml")


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("a.b", False)]
)
def test_loopback_is_this_machine_only(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
