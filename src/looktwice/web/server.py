"""The server under the page: where it listens, and how it ends."""

import logging
import socket
from collections.abc import Callable
from types import FrameType

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from looktwice.errors import OptionError
from looktwice.web.guard import HEADERS, refusal


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Args:
        host: an address of this machine, or its name.
        port: 0 takes any free port.

    Raises:
        OptionError: the host is not this machine's, or the port is taken or not allowed.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError, TypeError, ValueError) as error:  # the last two: a zero byte in the host
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"{host} port {port} cannot be used ({reason}); name another --port or --host") from error


def serve(app: Starlette, connections: socket.socket, on_stop: Callable[[int], None] = lambda _: None) -> None:
    """Answers requests until the process is interrupted. Requests that are being answered then are given up.

    Args:
        app: of ``create_app``.
        connections: of ``listen``.
        on_stop: gets the signal of every interruption, in the main thread.
    """
    _Server(app, on_stop).run(sockets=[connections])


class _Server(uvicorn.Server):
    """A server that gives up its requests when it is interrupted."""

    def __init__(self, app: Starlette, on_stop: Callable[[int], None]) -> None:
        super().__init__(uvicorn.Config(app, http=_Protocol, log_level="warning", access_log=False))
        self._app = app
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called when the process is interrupted."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what is given up is no error
        self._app.state.close()
        self._on_stop(sig)
        super().handle_exit(sig, frame)


class _Protocol(H11Protocol):
    """HTTP, with the security headers also on the answer to what is no HTTP."""

    def send_400_response(self, msg: str) -> None:
        """Answers bytes that are no request, and ends the connection."""
        answer = refusal(
            f"{msg.rstrip('.').lower()}; send a request of HTTP/1.1", 400, HEADERS | {"Connection": "close"}
        )
        for event in (
            h11.Response(status_code=400, headers=answer.raw_headers, reason=b"Bad Request"),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()
