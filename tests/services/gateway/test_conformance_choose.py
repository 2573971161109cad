"""Which rig a name means; real money needs a wallet and a word; what stands in the way is said in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import ExitCode, PolyexecError, Refusal
from common.settings import CcxtVenue, Mode, Settings, Wallet
from services.gateway.conformance.__main__ import main
from services.gateway.conformance.case import Row, Verdict, report_of
from services.gateway.conformance.choose import Wish, rig_for
from services.gateway.conformance.rigs.exchange import ExchangeRig
from services.gateway.conformance.table import DETAIL_MAX, report_text
from tests.services.fake_edge import settings_for

LIVE = "https://clob.polymarket.com"


def with_ccxt(url: str = "", *wallets: str) -> Settings:
    row = CcxtVenue(name="bin", url=url)
    own = [Wallet(name=name, venue="bin") for name in wallets]
    return settings_for().model_copy(update={"ccxt": (row,), "wallets": (*settings_for().wallets, *own)})


@pytest.mark.parametrize(
    ("settings", "wish", "field"),
    [
        (settings_for(), Wish("nowhere"), "name"),
        (settings_for(clob_url=LIVE), Wish("polymarket"), "wallet"),
        (settings_for(clob_url=LIVE), Wish("polymarket", wallet="main"), "yes_spend_real_money"),
        (with_ccxt(), Wish("bin"), "wallet"),
        (with_ccxt("", "a"), Wish("bin", wallet="a"), "yes_spend_real_money"),
        (with_ccxt("http://127.0.0.1:1"), Wish("bin"), "wallet"),
        (settings_for().model_copy(update={"mode": Mode.LIVE}), Wish("exchange"), "name"),
    ],
)
def test_what_may_not_be_tried_is_refused_by_the_option_that_is_missing(
    settings: Settings, wish: Wish, field: str
) -> None:
    with pytest.raises(Refusal) as refused:
        rig_for(settings, wish)
    assert refused.value.field == field


async def test_with_both_words_the_real_venue_may_be_tried() -> None:
    rig = rig_for(settings_for(clob_url=LIVE), Wish("polymarket", wallet="main", real_money=True))
    assert rig.wallet == "main"
    await rig.close()


async def test_a_configured_exchange_is_what_ccxt_means() -> None:
    rig = rig_for(with_ccxt("http://127.0.0.1:1", "a", "b"), Wish("ccxt"))
    assert rig.wallet == "a"
    assert rig_for(settings_for(), Wish("ccxt")).wallet == "check"


async def test_an_exchange_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.conformance.rigs.exchange.ANSWER_S", 0.2)
    base = settings_for()
    rig = ExchangeRig(base.model_copy(update={"paths": base.paths.model_copy(update={"run_dir": tmp_path})}))
    with pytest.raises(PolyexecError, match=r"start_all\.sh"):
        await rig.open()
    await rig.close()


# --- the command ---


def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command without hardening the test process."""
    monkeypatch.setattr("services.gateway.conformance.__main__.harden", lambda: None)


@pytest.mark.usefixtures("inside")
def test_the_command_prints_one_object_and_exits_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", "--json"]) == ExitCode.OK
    report = shown(capsys)
    assert report["ok"] is True
    assert report["passed"] == len(report["cases"])
    assert {"number", "key", "title", "rule", "section", "verdict", "detail", "took_ms"} <= set(report["cases"][0])


@pytest.mark.usefixtures("inside")
def test_a_refusal_is_an_object_with_json_and_a_line_without(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere", "--json"]) == ExitCode.REFUSED
    assert shown(capsys)["error"]["code"] == "UNKNOWN_VENUE"
    assert main(["nowhere"]) == ExitCode.REFUSED
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.usefixtures("inside")
def test_a_budget_that_is_no_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", "--budget", "much", "--json"]) == ExitCode.REFUSED
    assert shown(capsys)["error"]["field"] == "budget"


def test_the_table_tells_a_failure_whole_and_with_its_rule() -> None:
    long = "x" * (DETAIL_MAX + 50)
    rows = [
        Row(1, "a", "one", "the rule of one", "§1", Verdict.PASS, long, 1),
        Row(2, "b", "two", "the rule of two", "§2", Verdict.FAIL, long, 1),
    ]
    text = report_text(report_of("v", "w", "note", [], rows))
    assert "the rule of two (§2)" in text
    assert "the rule of one" not in text
    assert text.count(long) == 1
    assert text.endswith("1 passed, 1 failed, 0 do not apply")
