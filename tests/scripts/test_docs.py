"""Generated pages in docs/ say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.docs import PAGES


@pytest.mark.parametrize("path", sorted(PAGES), ids=lambda path: path.name)
def test_a_generated_page_is_fresh(path: Path) -> None:
    assert path.read_text() == PAGES[path](), "run python -m scripts.docs"
