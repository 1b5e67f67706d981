"""HEAD on everything that answers GET: the same status and headers, no content (RFC 9110 sec. 9.3.2).

Plain ASGI: the app sees a GET, and what it sends as content is dropped. `is_head` tells a route that would read a file.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Head", "is_head"]


class Head:
    """Middleware around the whole app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_content(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        state = {**scope.get("state", {}), "head": True}
        await self._app({**scope, "method": "GET", "state": state}, receive, send_without_content)


def is_head(request: Request) -> bool:
    """Whether only the headers of the answer will be sent."""
    return getattr(request.state, "head", False)
