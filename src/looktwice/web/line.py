"""The line of requests in front of the network. One thread serves them, one after the other."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from looktwice.models.model import Model
from looktwice.web.forms import Limits
from looktwice.web.worker import Event, warm_up

TICK = 0.1
"""After how many seconds a request looks again whether its client is still there."""


Work = Callable[[threading.Event], Iterator[Event]]
"""What the thread does for a request. It stops soon after the event is set: nobody waits any more."""


class Line:
    """Runs the network for one request after the other, and tells each what is done for it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="looktwice")
        self._waiting: list[threading.Event] = []  # one of each request, the first is being served
        self._closed = threading.Event()

    def close(self) -> None:
        """Gives up all requests: those that wait, and the one on which the network works."""
        self._closed.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def warm_up(self, models: Sequence[Model]) -> None:
        """Lets each network look once before the first request. It returns at once."""

        def warm() -> None:
            for model in models:
                with suppress(Exception):  # a request will be told
                    warm_up(model, self._closed)

        self._thread.submit(warm)

    async def events(self, request: Request, work: Work, *, until: float) -> AsyncGenerator[Event, None]:
        """What happens to a request: first its place in the line each time it changes, then what the work yields.

        A place is an event ``waiting`` with ``before``: how many requests are served before this one.

        Args:
            request: whose client waits.
            work: what the thread shall do.
            until: when the time is up, by the running loop's clock.

        Raises:
            ClientDisconnect: the client is gone.
            HTTPException: 503, the server is about to end; 504, the time is up.
            Exception: what the work raises.
        """
        if self._closed.is_set():
            raise ending()
        loop, given_up, news = asyncio.get_running_loop(), threading.Event(), asyncio.Event()
        found: deque[Event] = deque()

        def run() -> None:
            for event in work(given_up):
                found.append(event)
                loop.call_soon_threadsafe(news.set)

        job = asyncio.wrap_future(self._thread.submit(run))
        job.add_done_callback(lambda _: news.set())
        self._waiting.append(given_up)
        place = None
        try:
            while True:
                finished = job.done()  # asked before the last events are taken
                while found:
                    yield found.popleft()
                if finished:
                    break
                if place != (now := self._waiting.index(given_up)):
                    place = now
                    yield Event("waiting", {"before": now})
                await self._check(request, until)
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(news.wait(), TICK)
                news.clear()
            if job.cancelled():
                raise ending()
            job.result()
        finally:
            self._waiting.remove(given_up)
            given_up.set()
            job.cancel()

    async def _check(self, request: Request, until: float) -> None:
        if await request.is_disconnected():
            raise ClientDisconnect
        if self._closed.is_set():
            raise ending()
        if asyncio.get_running_loop().time() > until:
            raise too_slow(self._limits)


def ending() -> HTTPException:
    """The answer to requests while the server ends."""
    return HTTPException(503, "the server is about to end; start it again")


def too_slow(limits: Limits) -> HTTPException:
    """The answer to a request whose time is up."""
    remedy = "take fewer methods or steps, or a smaller network"
    return HTTPException(504, f"not finished after {limits.seconds:g} seconds; {remedy}")
