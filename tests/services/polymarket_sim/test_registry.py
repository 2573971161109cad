"""The registry of keys remembers over kill -9 and never believes a torn line."""

from __future__ import annotations

from pathlib import Path

import pytest

import services.polymarket_sim.registry as module
from common.errors import Refusal
from services.polymarket_sim.keys import KeyName
from services.polymarket_sim.registry import KeyRegistry

ADDRESS = "0x" + "11" * 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def reopened(registry: KeyRegistry) -> KeyRegistry:
    """What a process started after kill -9 reads; from here on it is the only writer."""
    return KeyRegistry(registry.path)


def test_a_key_is_created_once(path: Path) -> None:
    registry = KeyRegistry(path)
    name = registry.create(ADDRESS, 0)
    with pytest.raises(Refusal):
        reopened(registry).create(ADDRESS, 0)
    assert reopened(registry).live_keys(ADDRESS) == [name]


def test_a_deleted_key_comes_back_as_another_one(path: Path) -> None:
    registry = KeyRegistry(path)
    first = registry.create(ADDRESS, 3)
    registry.delete(first)
    again = reopened(registry)
    assert not again.is_live(first)
    second = again.create(ADDRESS, 3)
    assert (second.generation, again.is_live(second), again.is_live(first)) == (1, True, False)


def test_a_provisioned_key_lives_until_it_is_deleted(path: Path) -> None:
    registry = KeyRegistry(path)
    name = KeyName(ADDRESS, 0, 0)
    assert registry.is_live(name)
    assert not registry.is_live(name._replace(generation=1))
    registry.adopt(name)
    registry = reopened(registry)
    assert registry.live_keys(ADDRESS) == [name]
    registry.delete(name)
    assert not reopened(registry).is_live(name)


def test_armed_heartbeats_are_remembered(path: Path) -> None:
    registry = KeyRegistry(path)
    name = registry.create(ADDRESS, 0)
    registry.arm(name, armed=True)
    registry = reopened(registry)
    assert registry.armed_keys() == [name]
    registry.arm(name, armed=False)
    assert reopened(registry).armed_keys() == []


def test_a_torn_last_line_is_dropped(path: Path) -> None:
    registry = KeyRegistry(path)
    registry.create(ADDRESS, 0)
    registry.create(ADDRESS, 1)
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    torn = KeyRegistry(path)
    assert [name.nonce for name in torn.live_keys(ADDRESS)] == [0]
    torn.create(ADDRESS, 2)
    assert [name.nonce for name in reopened(torn).live_keys(ADDRESS)] == [0, 2]


def test_the_file_stays_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPACT_LINES", 10)
    monkeypatch.setattr(module, "KEYS_MAX", 2)
    registry = KeyRegistry(path)
    name = registry.create(ADDRESS, 0)
    for _ in range(50):
        registry.arm(name, armed=True)
        registry.arm(name, armed=False)
    assert len(path.read_bytes().splitlines()) <= 10
    registry.create(ADDRESS, 1)
    with pytest.raises(Refusal):
        registry.create(ADDRESS, 2)
    assert len(reopened(registry).live_keys(ADDRESS)) == 2
