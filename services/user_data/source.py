"""The port between user_data and its venues: one private feed of one wallet, whatever it is spoken over.

In: settings and the edge, given to the opener of a venue's kind. Out: sources that run for the life of the process and
put VenueOrderChanged, VenueFill and UserFeedChanged on the lane through an Outlet. A source never ends by what a venue
does: a loss is told, and it goes on. A venue adds its opener to services/user_data/openers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from services.user_data.life import FeedLife

if TYPE_CHECKING:
    from common.edge import Edge
    from common.settings import Wallet


class Source(Protocol):
    """One wallet's private feed."""

    @property
    def feed(self) -> FeedLife: ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...

    def on_reader_restarted(self) -> None:
        """The executor lost what it had not taken: it is told a loss, then the present state."""
        ...


OnChange: TypeAlias = Callable[[], None]
"""Called by a source whenever the state of its feed changed."""
Opener: TypeAlias = "Callable[[Edge, Sequence[Wallet], OnChange], Sequence[Source]]"
"""Makes the sources of all wallets of one venue. Raises ConfigError naming what is missing and the fix."""
