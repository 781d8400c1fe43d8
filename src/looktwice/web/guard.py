"""Which requests are answered, and the security headers of every answer."""

import ipaddress
import json
import re
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from looktwice.errors import cut, printable, quoted

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


FAILED = "the server failed; its terminal says why"


MOST_MESSAGE = 400
"""Letters of a message, at most."""


def as_json(content: Any) -> bytes:
    """JSON in one line of ASCII, so that every text can be sent."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class Answer(JSONResponse):
    """A JSON answer in ASCII, so that every text can be sent, also the name of a file that is no text."""

    def render(self, content: Any) -> bytes:
        """The body of the answer."""
        return as_json(content)


def refusal(message: str, status: int, headers: Any = None) -> Answer:
    """The answer to a request that cannot be met: ``{"error": MESSAGE}``, one line."""
    return Answer({"error": one_line(message)}, status, headers)


def one_line(message: str) -> str:
    """The message as one line that every terminal and page can show, not too long."""
    return cut(printable(" ".join(message.split())), most=MOST_MESSAGE)


class Guard:
    """Refuses requests that the page of another site could make a browser send, and adds the security headers.

    The Host header must be an IP address, localhost, or a name of this machine. So a foreign name that was made to
    point here (DNS rebinding) is refused. If a request says which site it comes from, it must be this one.

    What fails inside is answered here too, so that this answer has the headers.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._names = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
                begun = True
            await send(message)

        try:
            answer = self._refusal(scope) or self._app
            await answer(scope, receive, send_with_headers)
        except Exception:
            if not begun:
                await refusal(FAILED, 500)(scope, receive, send_with_headers)
            raise  # the server prints it

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """The answer to a request that is refused; ``None`` for any other."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_own(host):
            return refusal(f"this page is not known as {quoted(host)}; open it by its address", 400)
        if "origin" in headers and _site(headers["origin"]) != host:
            return refusal("the request comes from another site's page", 403)
        if re.search("[\x00-\x1f\x7f]", scope["path"]):
            return refusal("the address has control characters in it", 400)
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self._names:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _site(origin: str) -> str | None:
    """The host and port in an Origin header; ``None`` if it has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
