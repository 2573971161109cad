"""The port between market_data and its venues: everything one venue's instruments and books need.

In: settings and the edge, given to the opener of a venue's kind. Out: a board whose answers the hub (hub.py) gives, and
effects the source publishes itself as they happen. A source never ends by what a venue does, and nothing in it waits
for another venue. A venue adds its opener to services/market_data/openers.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from services.market_data.listing import Listing

if TYPE_CHECKING:
    from common.edge import Edge

Show: TypeAlias = Callable[[bool, str], None]
"""Called by a source with what it says of itself: whether it serves, and in words what is missing ("": nothing)."""


class Source(Protocol):
    """One venue's market data. Token, condition ids and slugs of venues but Polymarket begin with `<venue>:`."""

    @property
    def venue(self) -> str: ...

    @property
    def board(self) -> Listing[Any]:
        """PlainBoard, unless the venue has a board of its own."""
        ...

    def start(self, show: Show) -> None:
        """Spawn what works for the life of the process."""
        ...

    def flush(self) -> None:
        """Publish what was applied and not yet said: somebody is about to be answered."""
        ...

    async def close(self) -> None: ...


Opener: TypeAlias = "Callable[[Edge, str], Source]"
"""Makes the source of one venue by its name. Raises ConfigError naming what is missing and the fix."""
