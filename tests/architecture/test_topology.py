"""One list of processes: the topology, the folders, supervisord's programs; and one place for addresses."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from common.settings import ROOT
from common.topology import ALL_PROCESSES, LOCAL_VENUE, OPTIONAL, PROCESSES, processes_of, supervisor_socket

CONF = ROOT / "deploy" / "supervisord.conf"
HELPERS = {"ticker"}
MAIN_LINES_MAX = 80


@pytest.fixture(scope="module")
def conf() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=None)
    parser.read(CONF)
    return parser


def programs(conf: configparser.RawConfigParser) -> dict[str, configparser.SectionProxy]:
    return {name.removeprefix("program:"): conf[name] for name in conf.sections() if name.startswith("program:")}


def test_the_folders_are_the_processes() -> None:
    folders = {path.parent.name for path in (ROOT / "services").glob("*/__main__.py")}

    assert folders - {"cli"} == set(ALL_PROCESSES)


def test_only_in_live_mode_the_local_venue_does_not_run() -> None:
    assert processes_of("demo") == processes_of("paper") == PROCESSES
    assert set(PROCESSES) - set(processes_of("live")) == LOCAL_VENUE


def test_optional_processes_run_when_they_are_asked_for() -> None:
    assert set(ALL_PROCESSES) - set(PROCESSES) == OPTIONAL
    assert processes_of("demo", OPTIONAL) == ALL_PROCESSES
    assert set(processes_of("live", OPTIONAL)) == set(ALL_PROCESSES) - LOCAL_VENUE


def test_the_programs_are_the_processes(conf: configparser.RawConfigParser) -> None:
    assert set(programs(conf)) - HELPERS == set(ALL_PROCESSES)


def test_each_program_runs_its_folder_with_the_interpreter_of_the_venv(conf: configparser.RawConfigParser) -> None:
    for name in ALL_PROCESSES:
        assert programs(conf)[name]["command"] == f'"%(ENV_PX_PYTHON)s" -m services.{name}'


def test_the_group_stops_order_entry_first_and_the_exchange_last(conf: configparser.RawConfigParser) -> None:
    """supervisord stops in reverse priority; the ticker stays to the end, as it makes stopping quick."""
    found = programs(conf)
    order = sorted(found, key=lambda name: int(found[name]["priority"]))

    assert order == ["ticker", *ALL_PROCESSES]


def test_the_rules_of_reliability_section_1_hold_for_each_program(conf: configparser.RawConfigParser) -> None:
    for name, program in programs(conf).items():
        assert int(program["startsecs"]) >= 3, name
        assert int(program["startretries"]) >= 3, name
        assert (program["killasgroup"], program["stopasgroup"], program["stopsignal"]) == ("true", "false", "TERM")
        assert program["autostart"] == autostart(name)
        assert program["autorestart"] == "true"
        command = re.sub(r"%\(ENV_\w+\)s", "", program["command"])
        assert "%" not in command, name
        assert "\n" not in command, name


def autostart(name: str) -> str:
    if name in LOCAL_VENUE:
        return "%(ENV_PX_LOCAL_VENUE)s"
    return "%(ENV_PX_SIGNER)s" if name == "signer" else "true"


def test_every_process_logs_to_a_rotated_file(conf: configparser.RawConfigParser) -> None:
    for name in ALL_PROCESSES:
        program = programs(conf)[name]
        assert program["stdout_logfile"] == f"%(ENV_PX_LOGS)s/{name}.log"
        assert program["redirect_stderr"] == "true"
        assert program["stdout_logfile_maxbytes"] == "20MB"
        assert int(program["stdout_logfile_backups"]) > 0


def test_supervisord_is_private_and_where_the_topology_says(conf: configparser.RawConfigParser) -> None:
    assert conf["unix_http_server"]["file"] == f"%(ENV_PX_RUN)s/{supervisor_socket(Path()).name}"
    assert conf["unix_http_server"]["chmod"] == "0700"
    assert conf["supervisord"]["umask"] == "077"
    assert conf["supervisord"]["nocleanup"] == "true"


def test_no_line_of_the_conf_holds_a_path_or_a_secret() -> None:
    text = CONF.read_text()

    assert not re.search(r"(?<![\w)s])/(?:home|root|tmp|usr|etc|var)\b", text)
    assert not re.search(r"(?i)passphrase|private_key|api_key|password", text)


@pytest.mark.parametrize("path", sorted((ROOT / "services").glob("*/__main__.py")), ids=lambda path: path.parent.name)
def test_a_main_only_wires(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAIN_LINES_MAX


def test_addresses_are_spelled_only_in_the_topology() -> None:
    """Benchmarks build sockets of their own to compare with; they are no part of the group."""
    sources = [path for folder in ("common", "services", "deploy") for path in (ROOT / folder).rglob("*.py")]
    sources += (ROOT / "scripts").glob("*.py")
    spelled = [
        str(path.relative_to(ROOT))
        for path in sources
        if re.search(r"(ipc|tcp|inproc)://", path.read_text()) and path.name != "topology.py"
    ]

    assert spelled == []
