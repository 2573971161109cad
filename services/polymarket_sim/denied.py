"""A request the venue refuses: the HTTP status and the body with the venue's own words, JSON but for a `page`."""

from __future__ import annotations

from collections.abc import Mapping


class Denied(Exception):
    """Raised by checks, turned into a response by the server; `more` are further members of the JSON body."""

    def __init__(
        self, status: int, text: str, *, headers: Mapping[str, str] | None = None, page: str = "", **more: object
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers
        self.page = page
        self.more = more

    @property
    def body(self) -> dict[str, object]:
        return {"error": self.text, **self.more}
