"""What people are told to read and type is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.errors import ExitCode
from common.settings import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_scripts_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"scripts/[a-z_]+(?:\.sh)?\b", page.read_text()))

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_runbook_explains_every_exit_code() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)

    assert {(int(code), name) for code, name in rows} == {(int(code), code.name) for code in ExitCode}


def test_pages_that_messages_refer_to_exist() -> None:
    sources = [path for folder in ("common", "services", "scripts") for path in (ROOT / folder).rglob("*.py")]
    named = {page for path in sources for page in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text())}

    assert [page for page in sorted(named) if not (ROOT / page).exists()] == []
