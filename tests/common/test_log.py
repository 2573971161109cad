"""Log lines are JSON and never hold a secret."""

from __future__ import annotations

import json

import pytest

from common.log import REDACTED, redact, set_up_logging


def test_a_line_is_one_json_object_with_its_process(capsys: pytest.CaptureFixture[str]) -> None:
    import structlog

    try:
        set_up_logging("gateway").info("order_placed", order_id="o-1", private_key="0xabc")
        line = json.loads(capsys.readouterr().out)
    finally:
        structlog.reset_defaults()
    assert line["process"] == "gateway"
    assert line["event"] == "order_placed"
    assert line["order_id"] == "o-1"
    assert line["level"] == "info"
    assert line["private_key"] == REDACTED


@pytest.mark.parametrize("key", ["secret", "api_secret", "passphrase", "PRIVATE_KEY", "signature", "mnemonic"])
def test_values_whose_key_sounds_secret_are_blanked(key: str) -> None:
    assert redact(None, "", {key: "x", "order_id": "o"}) == {key: REDACTED, "order_id": "o"}
