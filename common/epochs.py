"""The only things an edge writes down: its own epoch number, and the newest epoch it saw of each peer.

`data/<name>.epoch` makes every start of an edge newer than the one before, also after a clock step.
`data/<name>.peers` lets a restarted receiver still refuse a zombie sender.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from common.durable import replace_file
from common.errors import ConfigError
from common.frames import Epoch


def next_epoch(data_dir: Path, name: str, now_s: int) -> Epoch:
    """A new epoch for an edge: max(stored + 1, clock), stored before it is used."""
    path = data_dir / f"{name}.epoch"
    try:
        stored = int(path.read_text())
    except FileNotFoundError:
        stored = 0
    except ValueError:
        raise ConfigError(str(path), "is not a number: remove it while the group is stopped") from None
    n = max(stored + 1, now_s)
    replace_file(path, [str(n).encode()])
    return Epoch("", n)


def load_peers(data_dir: Path, name: str) -> dict[str, Epoch]:
    """The newest epoch seen of each peer; {} at the first start."""
    path = data_dir / f"{name}.peers"
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Epoch])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise ConfigError(str(path), f"cannot be read ({error}): remove it while the group is stopped") from None


def store_peers(data_dir: Path, name: str, peers: dict[str, Epoch]) -> None:
    """Durable when it returns."""
    replace_file(data_dir / f"{name}.peers", [msgspec.json.encode(peers)])
