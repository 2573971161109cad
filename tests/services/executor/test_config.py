from __future__ import annotations

import msgspec
import pytest

from common.settings import load_settings
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
