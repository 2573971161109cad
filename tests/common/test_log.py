"""Log lines are JSON and never hold a secret."""

from __future__ import annotations

import json

import pytest

from common.log import DEPTH_MAX, ITEMS_MAX, LEFT_OUT, REDACTED, redact, set_up_logging


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


def test_secrets_are_blanked_however_deep_they_lie() -> None:
    event = {
        "request": {"headers": {"POLY_PASSPHRASE": "p", "POLY_ADDRESS": "0x1"}, "tries": [{"api_secret": "s"}, 2]},
        "pairs": [("POLY_SIGNATURE", "g"), ("Content-Type", "json")],
        "raw": {b"secret": "b"},
    }
    assert redact(None, "", event) == {
        "request": {
            "headers": {"POLY_PASSPHRASE": REDACTED, "POLY_ADDRESS": "0x1"},
            "tries": [{"api_secret": REDACTED}, 2],
        },
        "pairs": [["POLY_SIGNATURE", REDACTED], ["Content-Type", "json"]],
        "raw": {b"secret": REDACTED},
    }


def test_what_was_passed_is_not_changed() -> None:
    headers = {"POLY_PASSPHRASE": "p"}
    redact(None, "", {"headers": headers})
    assert headers == {"POLY_PASSPHRASE": "p"}


def test_what_is_too_deep_or_too_long_to_look_through_is_left_out() -> None:
    deep: dict[str, object] = {"secret": "s"}
    for _ in range(DEPTH_MAX):
        deep = {"in": deep}
    assert "'s'" not in repr(redact(None, "", {"deep": deep}))
    event = redact(None, "", {"long": [1] * ITEMS_MAX, "more": {"secret": "s"}})
    assert event == {"long": [1] * ITEMS_MAX, "more": LEFT_OUT}
    endless: list[object] = []
    endless.append(endless)
    assert LEFT_OUT in repr(redact(None, "", {"endless": endless}))
