"""Settings whose folders are in a temporary place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.settings import ROOT, Settings, load_settings

MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSettings:
    """The demo settings with paths under tmp_path; keywords replace whole sections."""
    monkeypatch.delenv("POLYEXEC_CONFIG", raising=False)

    def make(**changes: Any) -> Settings:
        for name in ("run_dir", "data_dir", "log_dir", "secrets_dir"):
            monkeypatch.setenv(f"POLYEXEC_PATHS__{name.upper()}", str(tmp_path / name))
        settings = load_settings(ROOT / "deploy" / "config" / "demo.toml")
        return settings.model_copy(update=changes)

    return make
