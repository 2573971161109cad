"""`polyexec doctor` typed at a running demo, at one with each thing broken, and at one that is down."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from common.settings import ROOT
from tests.process.demo import Demo, running_demo

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with running_demo() as found:
        yield found


def doctor(demo: Demo, *words: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "doctor", *words, "--json"],
        cwd=ROOT, env=demo.processes.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout), done.stdout + done.stderr


def levels(report: dict[str, Any]) -> dict[str, str]:
    """The worst level of each code."""
    order = ("SKIPPED", "OK", "WARN", "FAIL")
    found: dict[str, str] = {}
    for row in report["findings"]:
        found[row["code"]] = max(found.get(row["code"], "SKIPPED"), row["level"], key=order.index)
    return found


def fault(demo: Demo, name: str, *, on: bool) -> None:
    body = json.dumps({"name": name, "on": on}).encode()
    url = f"http://127.0.0.1:{demo.processes.control_port}/faults"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=5) as answer:
        assert answer.status == 200


def test_the_demo_can_trade_and_no_secret_is_shown(demo: Demo) -> None:
    code, report, output = doctor(demo)

    found = levels(report)
    assert (code, report["ok"]) == (0, True), report
    assert {name for name, level in found.items() if level not in ("OK", "SKIPPED")} == set()
    assert found.keys() - {name for name, level in found.items() if level == "OK"} <= {"DEAD_MAN"}
    assert len(found) >= 22
    secrets = demo.processes.folder / "secrets"
    creds = json.loads((secrets / "main.gateway.creds").read_text())
    for secret in ((secrets / "main.key").read_text(), creds["secret"], creds["passphrase"]):
        assert secret not in output
    assert demo.cli("orders", "--all") == []


def test_credentials_the_venue_refuses_are_found_and_derived_anew(demo: Demo) -> None:
    file = demo.processes.folder / "secrets" / "main.gateway.creds"
    good = file.read_text()
    file.write_text(json.dumps(json.loads(good) | {"secret": urlsafe_b64encode(b"x" * 32).decode()}))

    code, report, _ = doctor(demo)
    found = levels(report)
    assert (code, found["API_KEY"], found["SIGNATURE"], found["ORDER"]) == (1, "FAIL", "OK", "SKIPPED")
    (refused,) = [row for row in report["findings"] if row["code"] == "API_KEY"]
    assert "doctor --derive --wallet main" in refused["fix"]

    assert doctor(demo, "--derive", "--wallet", "main")[0] == 0
    assert json.loads(file.read_text()) == json.loads(good)
    assert file.stat().st_mode & 0o077 == 0


def test_each_thing_that_is_broken_is_found_beside_the_others(demo: Demo) -> None:
    key = demo.processes.folder / "secrets" / "main.key"
    demo.cli("halt", "--reason", "drill")
    fault(demo, "geoblocked", on=True)
    key.chmod(0o644)
    try:
        code, report, _ = doctor(demo)
    finally:
        key.chmod(0o600)
        fault(demo, "geoblocked", on=False)
        demo.cli("resume")
    found = levels(report)
    assert (code, found["HALT"], found["GEOBLOCK"], found["KEY"]) == (1, "FAIL", "FAIL", "FAIL")
    assert found["CLOCK"] == "OK"
    assert all(row["fix"] for row in report["findings"] if row["level"] in ("WARN", "FAIL"))


def test_a_group_that_is_down_is_examined_as_far_as_it_goes(demo: Demo) -> None:
    for name in reversed(list(demo.processes.processes)):
        demo.processes.kill9(name)
    code, report, _ = doctor(demo)
    found = levels(report)
    assert (code, found["VENUE"], found["PROCESSES"]) == (1, "FAIL", "SKIPPED")
    assert (found["KEY"], found["CREDENTIALS"], found["FUNDER"], found["SIGNATURE"]) == ("OK", "OK", "OK", "OK")
    assert {found[name] for name in ("CLOCK", "API_KEY", "MONEY", "CANCEL", "ORDER")} == {"SKIPPED"}
