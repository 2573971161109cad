from __future__ import annotations

import msgspec
import pytest

from common.errors import ConfigError
from common.settings import load_settings
from common.venues.capabilities import DuplicateRefused
from services.executor.config import Execution, read_config


def test_the_settings_of_this_program_are_understood() -> None:
    """What model_dump_json writes is what the core reads: the defaults of both agree."""
    settings = load_settings()

    config = read_config(settings.model_dump_json())

    assert msgspec.to_builtins(config.execution).items() <= settings.execution.model_dump().items()
    assert [(row.name, row.venue) for row in config.wallets] == [(row.name, row.venue) for row in settings.wallets]
    assert [row.name for row in config.accounts] == [row.name for row in settings.accounts]
    assert config.user_data.dead_after_s == settings.user_data.dead_after_s
    assert config.polymarket.protocol_version == settings.polymarket.protocol_version


def test_defaults_agree_with_the_settings_module() -> None:
    from common.settings import Execution as Settings

    assert msgspec.to_builtins(Execution()).items() <= Settings().model_dump().items()


def test_a_wallet_is_found_by_account() -> None:
    text = '{"wallets": [{"name": "w", "venue": "v"}], "accounts": [{"name": "a", "wallet": "w"}]}'
    config = read_config(text)

    wallet = config.wallet_of("a")

    assert wallet is not None
    assert (wallet.name, wallet.venue) == ("w", "v")
    assert config.wallet_of("b") is None


def test_text_that_is_no_settings_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        read_config("[]")


@pytest.mark.parametrize(
    ("venue", "believed", "resends"),
    [
        ("polymarket", "forever", True),
        ("polymarket", "while_open", False),
        ("polymarket", "never", False),
        ("exchange", "never", True),
        ("binance", "forever", False),
    ],
)
def test_only_where_no_id_is_ever_taken_twice_may_bytes_go_out_again(venue: str, believed: str, resends: bool) -> None:
    """The setting speaks of Polymarket only; of other venues their kind says it."""
    config = read_config(f'{{"polymarket": {{"duplicate_refused": "{believed}"}}}}')

    assert config.may_resend(venue) is resends


def test_what_the_settings_may_believe_is_what_the_executor_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    for word in DuplicateRefused:
        monkeypatch.setenv("POLYEXEC_POLYMARKET__DUPLICATE_REFUSED", word.value)
        assert read_config(load_settings().model_dump_json()).polymarket.duplicate_refused is word
    monkeypatch.setenv("POLYEXEC_POLYMARKET__DUPLICATE_REFUSED", "sometimes")
    with pytest.raises(ConfigError, match=r"polymarket\.duplicate_refused"):
        load_settings()
