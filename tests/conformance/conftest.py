"""One venue for the whole folder; every test trades with a wallet of its own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from tests.conformance.venue import RunningVenue, running_venue


@pytest.fixture(scope="session")
def _running() -> Iterator[RunningVenue]:
    with running_venue() as venue:
        yield venue
    # both old clients keep one connection pool per process
    for package in ("py_clob_client", "py_clob_client_v2"):
        importlib.import_module(f"{package}.http_helpers.helpers")._http_client.close()


@pytest.fixture
def venue(_running: RunningVenue) -> RunningVenue:
    """The venue with its whole book resting and no fault on."""
    for row in _running.get("/faults", _running.control):
        _running.fault(row["name"], on=False)
    _running.quote()
    return _running
