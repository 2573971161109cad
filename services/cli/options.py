"""Options and endings that commands share: what is asked with, what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Annotated, NamedTuple

import typer

from common.errors import PolyexecError
from common.topology import PROCESSES
from services.cli.client import Client


class Session(NamedTuple):
    """What a command works with; `default_account` is used where --account is not given."""

    client: Client
    default_account: str
    processes: tuple[str, ...] = PROCESSES
    """Those that run in this mode."""
    venue_accounts: Mapping[str, str] = MappingProxyType({})
    """The first account on each venue."""

    def account_on(self, venue: str) -> str:
        """Who trades where only the venue was named; what is no venue is the executor's to refuse."""
        return self.venue_accounts.get(venue, self.default_account)


Connect = Callable[[str], AbstractContextManager[Session]]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
AccountOption = Annotated[str, typer.Option("--account", help="Our account; default: the first of the settings.")]
AccountFilter = Annotated[str, typer.Option("--account", help="Only this account; default: every account.")]
MarketFilter = Annotated[str, typer.Option("--market", help="Only this market: slug or condition id.")]


class OutputLost(PolyexecError):
    """Standard output cannot be written; "" when its reader left (`| head`), which is no error."""


def session(ctx: typer.Context, owner: str) -> AbstractContextManager[Session]:
    """A session on the running group; `owner` is the process the command will ask."""
    connection: Connect = ctx.obj
    return connection(owner)


def print_result(shown: object, text: str, as_json: bool) -> None:
    write((json.dumps(shown) if as_json else text) + "\n")


def write(text: str) -> None:
    """Raises OutputLost."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        raise OutputLost from None
    except OSError as error:
        raise OutputLost(error.strerror) from None
