"""Stands before every request: who asks, how much arrives, and how long that takes.

A request is refused before its body is read; a body that is too long, while it is read.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from cl_suite.learner.serve.limits import MIB, Access, Limits, RefusedError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

API = "/api/"
WRITES = ("/api/learn", "/api/undo", "/api/forget", "/api/rename", "/api/evaluate")
SECONDS_TO_DRAIN = 5.0
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Wraps an application.

    Args:
        app: the application.
        access: who may ask what.
        limits: of each request.
    """

    def __init__(self, app: App, access: Access, limits: Limits) -> None:
        self.app, self.access, self.limits = app, access, limits

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(receive, self.limits)

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                # who is still sending would not read the answer
                await body.drain()
                message["headers"] = [*message.get("headers", ()), *_headers(scope["path"])]
            await send(message)

        try:
            self._check(scope)
        except RefusedError as refused:
            await _answer(sent, refused)
        else:
            await self.app(scope, body.receive, sent)

    def _check(self, scope: Message) -> None:
        headers = dict(scope["headers"])
        if not self.access.accepts(headers):
            raise RefusedError(
                403,
                "this request comes from another site's page, or names another host than this "
                "server's; open the address that was printed when the server started",
            )
        if self._needs_token(scope) and not self.access.has_token(headers):
            raise RefusedError(
                401,
                "the token is missing or wrong; send 'Authorization: Bearer TOKEN' with the token "
                "that was set or printed when the server started",
            )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.limits.request_bytes:
            raise RefusedError(413, _too_long(self.limits))

    def _needs_token(self, scope: Message) -> bool:
        path = scope["path"]
        if self.access.is_loopback:
            return scope["method"] == "POST" and path in WRITES
        return bool(path.startswith(API))


class _Body:
    """A request's body as it arrives."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._until = time.monotonic() + limits.seconds
        self._size = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """Return the next part.

        Raises:
            HTTPException: 413 if it is too long, 408 if it takes too long.
        """
        if self._is_whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._until - time.monotonic())
        except TimeoutError as error:
            self._is_whole = True
            raise HTTPException(
                408,
                f"the request took longer than {self._limits.seconds:g} seconds to arrive; send "
                "less at once",
            ) from error
        self._note(message)
        if self._size > self._limits.request_bytes:
            raise HTTPException(413, _too_long(self._limits))
        return message

    async def drain(self) -> None:
        """Read what is left and throw it away, up to as much again as is allowed."""
        until = time.monotonic() + SECONDS_TO_DRAIN
        most = self._size + self._limits.request_bytes
        try:
            while not self._is_whole and self._size <= most:
                left = until - time.monotonic()
                self._note(await asyncio.wait_for(self._receive(), left))
        except TimeoutError:
            self._is_whole = True

    def _note(self, message: Message) -> None:
        self._size += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)


def _too_long(limits: Limits) -> str:
    return (
        f"the request is longer than {limits.request_bytes / MIB:g} MiB; send fewer or smaller "
        "pictures at once"
    )


def _headers(path: str) -> list[tuple[bytes, bytes]]:
    cache = "no-store" if path.startswith(API) else "no-cache"
    every = {**HEADERS, "cache-control": cache}
    return [(name.encode(), value.encode()) for name, value in every.items()]


async def _answer(send: Send, refused: RefusedError) -> None:
    content = json.dumps({"error": str(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
