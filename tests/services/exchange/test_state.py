"""Checkpoints and replay: equal states give equal bytes, in this process, after a restart, under any hash seed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from common.messages import Message
from services.exchange.audit import broken_rules
from services.exchange.core import ExchangeCore
from tests.model.test_whistle import Pair

ROOT = Path(__file__).parents[3]


def stream(moves: int, seed: int) -> tuple[str, str]:
    """State hash and a digest of all effects of a seeded stream."""
    digest = sha256()
    generator = random.Random(seed)
    pair = Pair(audit=False)
    send = pair.world.send

    def digested(message: Message) -> Message | None:
        answer = send(message)
        digest.update(repr(pair.world.effects).encode())
        return answer

    pair.world.send = digested  # type: ignore[method-assign]
    for _ in range(moves):
        pair.play(generator.randrange)
    return pair.world.core.state_hash(), digest.hexdigest()


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_a_stream_gives_the_same_under_any_hash_seed(hash_seed: str) -> None:
    """State hash and effects do not depend on the interpreter's hashing."""
    code = "from tests.services.exchange.test_state import stream; print(*stream(300, 11))"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert tuple(run.stdout.split()) == stream(300, 11)


def test_a_loaded_state_is_whole() -> None:
    """Books, reservations and histories are rebuilt so that every invariant holds, and dump to the same bytes."""
    generator = random.Random(5)
    pair = Pair(audit=False)
    for _ in range(400):
        pair.play(generator.randrange)
    dumped = pair.world.core.dump()
    core = ExchangeCore()
    core.load(dumped)
    assert broken_rules(core.engine) == []
    assert core.dump() == dumped
    assert core.counters() == pair.world.core.counters()


def test_foreign_bytes_are_refused() -> None:
    """A state of another format or version is not taken for ours."""
    core = ExchangeCore()
    with pytest.raises(msgspec.DecodeError):
        core.load(b"nonsense")
    with pytest.raises(msgspec.DecodeError, match="version 2"):
        core.load(core.dump()[:1] + b"\x02" + core.dump()[2:])
