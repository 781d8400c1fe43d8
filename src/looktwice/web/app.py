"""The page's application: the API, and the static files in ``static``.

An upload stays in memory from its request to its answer. Nothing of it is written to a file or a folder.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from looktwice.attention.methods import METHODS
from looktwice.defaults import DEFAULT_BOX
from looktwice.errors import LooktwiceError
from looktwice.labels import PAPER_METHODS
from looktwice.models.model import Model
from looktwice.options import check_known
from looktwice.web.exporting import FIELD_BYTES, export_asked_for, exported
from looktwice.web.forms import Limits, Upload, asked_for, known_model, read_form, single_fields
from looktwice.web.guard import FAILED, Answer, Guard, as_json, one_line, refusal
from looktwice.web.line import Line, too_slow
from looktwice.web.worker import Event, answers, joined

SHOWN_CLASSES = 20
"""Classes in the answer to a search, at most."""


GRACE = 5.0
"""Seconds after the end of a request's time in which the line that says so must be read."""


def create_app(
    models: Sequence[Model], *, hosts: Sequence[str] = (), limits: Limits | None = None, warm: bool = False
) -> Starlette:
    """The page and its API as an ASGI application.

    The paths are described at the methods of ``AttendService``. Every answer is JSON. With any status but 200 it is
    ``{"error": MESSAGE}``, where the message is one line of text:

    - 400, 403: the request is not for this page, not from it, or malformed;
    - 413: the upload is too large;
    - 415: the form is not in UTF-8;
    - 422: the upload is not a picture, or a choice is not possible;
    - 500: the server failed;
    - 503: too many requests are waiting, or the server is about to end;
    - 504: the time is up.

    Args:
        models: the networks to choose from; the first is the default.
        hosts: further names of this machine under which the page may be called, besides localhost and its host name.
        limits: of a request and of the queue; the usual ones when left out.
        warm: whether the networks look once at a gray picture when the server starts. Then the first answer comes soon.
    """
    service = AttendService(models, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if warm:
            service.warm_up()
        yield
        service.close()

    routes = [
        Route("/api/models", service.list_models),
        Route("/api/methods", service.list_methods),
        Route("/api/classes", service.search_classes),
        Route("/api/attend", service.attend, methods=["POST"]),
        Route("/api/export", service.export, methods=["POST"]),
        Mount("/", StaticFiles(directory=Path(__file__).parent / "static", html=True)),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={HTTPException: _refuse, LooktwiceError: _refuse},
    )
    app.state.close = service.close
    return app


class AttendService:
    """Answers the requests to the API. One thread runs the network for one request after the other."""

    def __init__(self, models: Sequence[Model], limits: Limits) -> None:
        # A name may have bytes that are no text. No client could send it back.
        named = [replace(model, name=model.name.encode(errors="backslashreplace").decode()) for model in models]
        self._models = {model.name: model for model in named}
        self._limits = limits
        self._line = Line(limits)
        self._places = threading.BoundedSemaphore(limits.waiting + 1)

    def close(self) -> None:
        """Gives up all requests: those that wait, and the one on which the network works."""
        self._line.close()

    def warm_up(self) -> None:
        """Lets each network look once, so that the first picture's answer comes soon. It returns at once."""
        self._line.warm_up(list(self._models.values()))

    async def list_models(self, _: Request) -> Response:
        """``GET /api/models`` → ``{"models": [{name, weights, classes, input}], "limits": {...}, "box": ...}``.

        The default network is the first. ``box`` is the default rule of boxes.
        ``classes`` is their number, ``input`` the size of the network's input in pixels: the side of a square,
        or [height, width].
        """
        rows = [
            {
                "name": model.name,
                "weights": model.weights,
                "classes": len(model.classes),
                "input": model.preprocessing.crop,
            }
            for model in self._models.values()
        ]
        return Answer({"models": rows, "limits": asdict(self._limits), "box": DEFAULT_BOX})

    async def list_methods(self, _: Request) -> Response:
        """``GET /api/methods`` → a row for each method.

        The answer is
        ``{"methods": [{name, title, short_name, colour, in_paper, summary, source, iterative, options}]}``.
        ``in_paper`` is true for the methods that Fu et al. (2017) compare. An ``iterative`` method has a score after
        each step, and can have a map after each step. ``options`` are the defaults.
        """
        rows = [
            {
                "name": name,
                "title": row.label.title,
                "short_name": row.label.short_name,
                "colour": row.label.colour,
                "in_paper": name in PAPER_METHODS,
                "summary": row.summary,
                "source": row.source,
                "iterative": row.has_gates,
                "options": dict(row.options),
            }
            for name, row in METHODS.items()
        ]
        return Answer({"methods": rows})

    async def search_classes(self, request: Request) -> Response:
        """``GET /api/classes?model=NAME&query=TEXT`` → ``{"classes": [{index, name}]}``, at most 20 classes.

        A class is found if its name contains the text; upper and lower case do not matter. A name that is the text
        comes first, then names that contain it as a word, then names that begin with it. A whole number also finds the
        class with this index. Without ``model`` the default network's classes are searched.
        """
        fields = single_fields(request.query_params.multi_items(), "parameter")
        for name in fields:
            check_known("parameter", name, ("model", "query"))
        model = known_model(fields.get("model", next(iter(self._models))), self._models)
        query = fields.get("query", "").strip().casefold()
        names = [name.casefold() for name in model.classes]
        found = [index for index, name in enumerate(names) if query in name or query == str(index)]

        def distance(index: int) -> tuple[bool, bool, bool]:
            name = names[index]
            return name != query, f" {query} " not in f" {name} ", not name.startswith(query)

        found.sort(key=distance)
        return Answer({"classes": [{"index": index, "name": model.classes[index]} for index in found[:SHOWN_CLASSES]]})

    async def attend(self, request: Request) -> Response:
        """``POST /api/attend``, a multipart form → what the network attends to in a picture.

        Only the first field is required:

        - ``picture``: a file (JPEG, PNG, WebP, AVIF, BMP, GIF, TIFF, PPM, and HEIC with the extra ``heic``); it is
          turned upright as its EXIF orientation says;
        - ``model``: a name of ``/api/models``;
        - ``class``: ``predicted``, or a name or index; ``against``: a second class, to compare with;
        - ``methods``: names of ``/api/methods`` with commas between; ``global_feedback`` when left out;
        - ``view``: what the network sees: the ``whole`` picture, squashed to its input, or its ``centre``, undistorted;
          ``whole`` when left out;
        - ``steps``: of the iterative methods;
        - ``trace_weight``: λ as a multiple of the method's default, which is 1 for ``global_feedback``; a default of 0
          stays 0;
        - ``box``: ``objects``, ``contour`` or ``energy``; ``threshold``: the share of the last two (0.2, or 0.95 for
          energy); ``min_score``: of objects, the probability that a box must be right with (0.2);
        - ``max_boxes``: how many boxes a map has at most; all of them when left out;
        - ``trajectory``: 1 adds the map and the gates after each step; possible for up to 10 steps.

        The answer::

            {"model", "weights", "view",
             "picture": {"width", "height", "preview": data URI of a JPEG, at most 1024 pixels on a side},
             "window": [left, top, right, bottom] of the part that the network sees, in pixels of the picture,
             "predicted": [{"index", "name", "probability"}], the five most probable classes,
             "target": {"index", "name", "probability"}, "against": likewise, or null,
             "doubts": sentences that a reader must know before looking, such as that the weights are random,
             "box_rule": {...},
             "methods": [{"name", "class": index, "doubts": those of this class, "source", "options", "seconds",
                          "scores": the class score at the start and after each step,
                          "gated": {"seen": activations of the network, "gated": how many of them carry gates,
                                    "grids": [[rows, columns]] of their maps, each once},
                          "notes": what a reader must know, such as that the map is zero everywhere,
                          "map": data URI of a PNG, 8-bit gray at the input's size,
                          "boxes": [{"x1", "y1", "x2", "y2", "score"}] in half-open pixels of the picture,
                          "gates": data URI of a PNG like the map: how far the gates are open at each place, as a share
                                   of the most open place; "open": the mean over all places, in [0, 1];
                                   both null without gates,
                          "trajectory": [{"map", "boxes", "gates", "open"}] after 0, 1 … steps, or null}]}

        With ``against`` each method has two rows, one for each class. A method that failed has ``error`` in place of
        all after ``doubts``. If the client is gone the request is dropped.

        With the header ``Accept: application/x-ndjson`` the answer comes in parts, a line of JSON for each event:

        - ``{"event": "waiting", "before"}``: how many pictures are before this one, each time it changes;
        - ``{"event": "seen", ...}``: all of the answer but ``methods``;
        - ``{"event": "map", ...}``: a row of ``methods``, as soon as it is found;
        - ``{"event": "end"}``: all rows are there;
        - ``{"event": "error", "status", "error"}`` in its place: what the answer would be otherwise. A form that cannot
          be read is still refused with this status.
        """
        return await self._in_line(request, self._attended)

    async def export(self, request: Request) -> Response:
        """``POST /api/export``, a multipart form → a labelled data set of one picture.

        - ``picture``: as for ``/api/attend``;
        - ``form``: ``coco``, one JSON file, or ``yolo``, a ZIP file with the picture, its labels and ``data.yaml``;
        - ``model``: a name of ``/api/models``;
        - ``classes``: a JSON list of ``{"index", "probability"}``, at most 10, each class once;
        - ``boxes``: a JSON list of ``{"class": index, "x1", "y1", "x2", "y2", "score"}`` in half-open pixels of the
          upright picture, at most 1000; each side is at least 0.001 pixels long.

        The network does not look again. A score in the file is the box's, times the probability of its class.
        """
        return await self._in_line(request, self._exported)

    async def _in_line(self, request: Request, answer: Callable[[Request, float], Awaitable[Response]]) -> Response:
        """The answer to a request that has one of the places in the line. A stream keeps its place until it ends.

        Args:
            request: the request.
            answer: makes the answer of it, until a time by the running loop's clock.
        """
        if not self._places.acquire(blocking=False):
            raise HTTPException(503, "too many pictures are waiting; try again in a few seconds", {"Retry-After": "5"})
        until = asyncio.get_running_loop().time() + self._limits.seconds
        response: Response | None = None
        try:
            response = await answer(request, until)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody will read it
        finally:
            if not isinstance(response, EventStream):
                self._places.release()
        return response

    async def _attended(self, request: Request, until: float) -> Response:
        upload, fields = await self._form(request)
        asked = asked_for(fields, self._models, self._limits)

        def work(given_up: threading.Event) -> Iterator[Event]:
            return answers(upload, asked, self._limits, given_up)

        events = self._line.events(request, work, until=until)
        if "application/x-ndjson" in request.headers.get("accept", ""):
            return EventStream(events, self._places.release, until=until + GRACE)
        async with aclosing(events):
            return Answer(joined([event async for event in events if event.kind != "waiting"]))

    async def _exported(self, request: Request, until: float) -> Response:
        upload, fields = await self._form(request, field_bytes=FIELD_BYTES)
        asked = export_asked_for(fields, self._models)

        def work(given_up: threading.Event) -> Iterator[Event]:
            return exported(upload, asked, self._limits, given_up)

        async with aclosing(self._line.events(request, work, until=until)) as events:
            (file,) = [event.content async for event in events if event.kind == "file"]
        disposition = f"attachment; filename*=UTF-8''{quote(file['name'])}"
        return Response(file["content"], 200, {"Content-Disposition": disposition}, file["media_type"])

    async def _form(self, request: Request, **room: int) -> tuple[Upload, dict[str, str]]:
        try:
            return await asyncio.wait_for(read_form(request, self._limits, **room), self._limits.seconds)
        except asyncio.TimeoutError:
            raise too_slow(self._limits) from None


class EventStream(StreamingResponse):
    """An answer in parts: a line of JSON for each event, and one for the end or the error.

    It is cut off at the time ``until``, by the running loop's clock. A client that does not read would else keep its
    place in the line for ever: the events cannot look at the clock while one of them is being sent.
    """

    def __init__(self, events: AsyncGenerator[Event, None], on_end: Callable[[], None], *, until: float) -> None:
        super().__init__(_lines(events), media_type="application/x-ndjson")
        self._events, self._on_end, self._until = events, on_end, until

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface. When it returns, the events are given up and ``on_end`` was called."""
        left = self._until - asyncio.get_running_loop().time()
        try:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(super().__call__(scope, receive, send), left)
        finally:
            await self._events.aclose()
            self._on_end()


async def _lines(events: AsyncGenerator[Event, None]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            yield _line(event.kind, event.content)
        yield _line("end", {})
    except ClientDisconnect:
        return  # nobody will read it
    except (HTTPException, LooktwiceError) as error:
        message, status = _told(error)
        yield _line("error", {"status": status, "error": one_line(message)})
    except Exception:
        yield _line("error", {"status": 500, "error": FAILED})
        raise  # the server prints it


def _line(kind: str, content: Mapping[str, Any]) -> bytes:
    return as_json({"event": kind, **content}) + b"\n"


async def _refuse(_: Request, error: Exception) -> Response:
    return refusal(*_told(error), getattr(error, "headers", None))


def _told(error: Exception) -> tuple[str, int]:
    """What to say of an error, and the status that goes with it."""
    return (error.detail, error.status_code) if isinstance(error, HTTPException) else (str(error), 422)
