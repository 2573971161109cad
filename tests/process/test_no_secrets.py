"""A full run leaves no secret anywhere but in its files: not in a log, journal, error, argument or environment.

The API key's name (the `owner` of every order) is no secret: it is posted and journaled. What proves it is: the wallet
key, the API secret and passphrase, the local venue's secret.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import ExitCode
from common.requester import Requester
from common.secrets import write_secret
from common.settings import ROOT
from scripts.provision import GivenSecrets, provision
from services.cli.client import Client
from tests.process.demo import Demo
from tests.process.group import Group, group
from tests.process.leaks import Secrets, contents

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

KEY = bytes.fromhex("5ec2e7" + "c0ffee" * 9 + "0d15")
OTHER_KEY = bytes.fromhex("0badcafe" * 8)
NEARLY_A_KEY = b"facade" * 10 + b"face5"
BROKEN_SECRET = b"canary-secret-of-a-broken-file-0123456789"
VENUE_SECRET = bytes.fromhex("beefdead" * 8)


@pytest.mark.parametrize(
    "spell",
    [
        bytes,
        lambda raw: raw.hex().encode(),
        lambda raw: b"0x" + raw.hex().upper().encode(),
        lambda raw: b64encode(b"ab" + raw + b"c"),
        lambda raw: urlsafe_b64encode(b"a" + raw),
        lambda raw: urlsafe_b64encode(raw).rstrip(b"="),
        lambda raw: repr(raw).encode(),
        lambda raw: str(int.from_bytes(raw, "big")).encode(),
    ],
)
def test_the_search_finds_a_secret_in_every_spelling(tmp_path: Path, spell: Callable[[bytes], bytes]) -> None:
    for value in (KEY, KEY.hex().encode(), b"0x" + KEY.hex().encode(), urlsafe_b64encode(KEY)):
        (tmp_path / "log").write_bytes(b"before " + spell(KEY) + b" after")
        [(_, content)] = contents(tmp_path)
        assert Secrets({"key": value}).found_in(content)
        assert not Secrets({"key": value}).found_in(b"before " + spell(OTHER_KEY) + b" after")


def test_a_full_run_leaves_no_secret_anywhere() -> None:
    with group(mirror__market_count="4") as processes:
        folder = processes.folder / "secrets"
        write_secret(folder / "main.key", KEY.hex().encode())
        write_secret(folder / "polymarket_sim.secret", VENUE_SECRET.hex().encode())
        provision(processes.settings, GivenSecrets())
        broken = start_broken(processes)
        for name in processes.settings.processes:
            processes.start(name)
        secrets = Secrets(secrets_of(folder))
        processes.wait_ready(*processes.settings.processes, deadline_s=60)
        said = trade(Typed(processes))
        ended = {name: processes.processes[name].wait(30) for name in broken}
        assert ended == dict.fromkeys(broken, ExitCode.CONFIG)
        running = {name: process.pid for name, process in processes.processes.items() if name not in broken}
        leaks = {f"/proc of {name}": secrets.found_in(kernel_view(pid)) for name, pid in running.items()}
        for name in reversed(processes.settings.processes):
            assert processes.stop(name) == 0, processes.log(name)
        leaks |= {f"said by the CLI ({number})": secrets.found_in(text) for number, text in enumerate(said)}
        looked_at = 0
        for path, content in contents(processes.folder):
            if folder not in path.parents:
                looked_at += 1
                leaks[str(path.relative_to(processes.folder))] = secrets.found_in(content)
        assert {place: found for place, found in leaks.items() if found} == {}
        assert looked_at > 2 * len(running)
        assert_the_search_saw_the_run(processes)


# --- the run ---


class Typed(Demo):
    """The CLI, and everything it printed."""

    def __init__(self, processes: Group) -> None:
        super().__init__(processes)
        self.said: list[bytes] = []

    def type(self, *words: str) -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *words],
            cwd=ROOT, env=self.processes.env, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        self.said += [done.stdout, done.stderr]
        return done.stdout


def trade(demo: Typed) -> list[bytes]:
    """Fills, a resting order, a refused one, kill -9 of the gateway in between, and everything that can be listed."""
    market = demo.two_sided()
    place = ("order", "place", "--market", market["slug"], "--outcome", market["outcomes"][0], "--side", "BUY")
    demo.type(*place, "--price", "0.9", "--size", "10", "--json")
    resting = json.loads(demo.type(*place, "--price", "0.01", "--size", "10", "--json"))
    assert resting["lifecycle"] == "PLACED", resting
    demo.type(*place, "--price", "0.0155", "--size", "10")
    demo.processes.kill9("gateway")
    demo.processes.start("gateway")
    demo.processes.wait_ready("gateway")
    demo.type("cancel-all")
    with Requester(demo.processes.settings) as bus:
        client = Client(bus)
        shown = [client.orders("", open_only=False, market="", limit=100), client.fills("", "", 100)]
        beats = client.heartbeats(3.0, demo.processes.settings.processes)
    assert len(beats) == len(demo.processes.settings.processes)
    return [*demo.said, repr(shown).encode(), repr(beats).encode()]


def start_broken(processes: Group) -> list[str]:
    """Processes that must refuse their secrets, each with folders of its own: what they say is looked through too."""
    good = processes.folder / "secrets"
    wrong = {
        "foreign-key": ("gateway", "main.key", b"0x" + OTHER_KEY.hex().encode()),
        "broken-creds": ("user_data", "main.user_data.creds", b'{"apiKey": "a", "secret": "' + BROKEN_SECRET),
        "broken-key": ("signer", "main.key", NEARLY_A_KEY + b"g"),
    }
    for name, (service, file, content) in wrong.items():
        own = processes.folder / name
        own.mkdir(mode=0o700)
        # In the folder of secrets that is not looked through.
        secrets_dir = good / name
        shutil.copytree(good, secrets_dir, ignore=shutil.ignore_patterns(*wrong))
        write_secret(secrets_dir / file, content)
        processes.start(
            name,
            f"services.{service}",
            paths__run_dir=str(own / "run"),
            paths__data_dir=str(own / "data"),
            paths__secrets_dir=str(secrets_dir),
            gateway__signer="process" if service == "signer" else "inside",
        )
    return list(wrong)


def secrets_of(folder: Path) -> dict[str, bytes]:
    creds = json.loads((folder / "main.gateway.creds").read_bytes())
    assert creds == json.loads((folder / "main.user_data.creds").read_bytes())
    return {
        "the wallet key": KEY,
        "another wallet key": OTHER_KEY,
        "what was nearly a key": NEARLY_A_KEY,
        "the secret of a broken file": BROKEN_SECRET,
        "the API secret": creds["secret"].encode(),
        "the passphrase": creds["passphrase"].encode(),
        "the venue's secret": VENUE_SECRET,
    }


def kernel_view(pid: int) -> bytes:
    """Arguments and environment; that the kernel shows no environment of such a process is as good."""
    found = Path(f"/proc/{pid}/cmdline").read_bytes()
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if line.startswith("Max core file")).split()[4] == "0"
    try:
        return found + Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        return found


def assert_the_search_saw_the_run(processes: Group) -> None:
    """The files looked through hold what is no secret: the order's owner in the journal, the refusals in the logs."""
    owner = json.loads((processes.folder / "secrets" / "main.gateway.creds").read_bytes())["apiKey"].encode()
    data = processes.folder / "data"
    seen = {path.relative_to(data).parts[0] for path, content in contents(data) if owner in content}
    assert "executor" in seen, seen
    logs = {path.stem: content for path, content in contents(processes.folder / "logs")}
    assert b"derive the credentials anew" in logs["foreign-key"]
    assert b"main.user_data.creds" in logs["broken-creds"]
    assert b"main.key" in logs["broken-key"]
