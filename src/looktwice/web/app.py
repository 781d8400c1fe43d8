"""The page's application: the API, and the static files in ``static``.

An upload stays in memory from its request to its answer. It is never written to a disk.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from looktwice.attention.methods import METHODS
from looktwice.defaults import DEFAULT_BOX, DEFAULT_METHOD, DEFAULT_MIN_SCORE, DEFAULT_THRESHOLDS
from looktwice.errors import LooktwiceError, OptionError
from looktwice.labels import PAPER_METHODS
from looktwice.localization.boxes import BoxKind, BoxRule
from looktwice.models.load import find_class
from looktwice.models.model import Model
from looktwice.options import check_known
from looktwice.web.forms import AttendRequest, Limits, number_field, read_form, single_fields
from looktwice.web.guard import Answer, Guard, refusal
from looktwice.web.worker import answer

SHOWN_CLASSES = 20
"""Classes in the answer to a search, at most."""


MOST_BOXES = 1000
"""Boxes of a map, at most, that a request can ask for."""


def create_app(models: Sequence[Model], *, hosts: Sequence[str] = (), limits: Limits | None = None) -> Starlette:
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
    """
    service = AttendService(models, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    routes = [
        Route("/api/models", service.list_models),
        Route("/api/methods", service.list_methods),
        Route("/api/classes", service.search_classes),
        Route("/api/attend", service.attend, methods=["POST"]),
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
        self._default = named[0]
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="looktwice")
        self._places = threading.BoundedSemaphore(limits.waiting + 1)
        self._closed = False

    def close(self) -> None:
        """Gives up all requests: those that wait, and the one on which the network works."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

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
        model = self._model(fields.get("model", self._default.name))
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

        - ``picture``: a file (JPEG, PNG, WebP, BMP, GIF, TIFF, PPM); it is turned upright as its EXIF orientation says;
        - ``model``: a name of ``/api/models``;
        - ``class``: ``predicted``, or a name or index;
        - ``methods``: names of ``/api/methods`` with commas between; ``global_feedback`` when left out;
        - ``steps``: of the iterative methods;
        - ``trace_weight``: λ as a multiple of the method's default, which is 1 for ``global_feedback``; a default of 0
          stays 0;
        - ``box``: ``objects``, ``contour`` or ``energy``; ``threshold``: the share of the last two (0.2, or 0.95 for
          energy); ``min_score``: of objects, the probability that a box must be right with (0.2);
        - ``max_boxes``: how many boxes a map has at most; all of them when left out;
        - ``trajectory``: 1 adds the map after each step; possible for up to 10 steps.

        The answer::

            {"model", "weights",
             "picture": {"width", "height", "preview": data URI of a JPEG, at most 1024 pixels on a side},
             "window": [left, top, right, bottom] of the part that the network sees, in pixels of the picture,
             "predicted": [{"index", "name", "probability"}], the five most probable classes,
             "target": {"index", "name", "probability"},
             "box_rule": {...},
             "methods": [{"name", "source", "options", "seconds",
                          "scores": the class score at the start and after each step,
                          "gated": {"seen": activations of the network, "gated": how many of them carry gates,
                                    "grids": [[rows, columns]] of their maps, each once},
                          "notes": what a reader must know, such as that the map is zero everywhere,
                          "map": data URI of a PNG, 8-bit gray at the input's size,
                          "boxes": [{"x1", "y1", "x2", "y2", "score"}] in half-open pixels of the picture,
                          "trajectory": [{"map", "boxes"}] after 0, 1 … steps, or null}]}

        A method that failed has only ``name`` and ``error``. If the client is gone the request is dropped.
        """
        if not self._places.acquire(blocking=False):
            raise HTTPException(503, "too many pictures are waiting; try again in a few seconds", {"Retry-After": "5"})
        try:
            return Answer(await asyncio.wait_for(self._answer(request), self._limits.seconds))
        except ClientDisconnect:
            return Response(status_code=499)  # nobody will read it
        except asyncio.TimeoutError:
            remedy = "take fewer methods or steps, or a smaller network"
            raise HTTPException(504, f"not finished after {self._limits.seconds:g} seconds; {remedy}") from None
        finally:
            self._places.release()

    async def _answer(self, request: Request) -> dict[str, Any]:
        upload, fields = await read_form(request, self._limits)
        asked = self._checked(fields)
        given_up = threading.Event()
        if self._closed:
            raise _ENDING
        job = asyncio.wrap_future(self._thread.submit(answer, upload, asked, self._limits, given_up))
        try:
            while not (await asyncio.wait([job], timeout=0.1))[0]:
                if await request.is_disconnected():
                    raise ClientDisconnect
                if self._closed:
                    raise _ENDING
            if job.cancelled():
                raise _ENDING
            return job.result()
        finally:
            given_up.set()
            job.cancel()

    def _model(self, name: str) -> Model:
        check_known("model", name, self._models)
        return self._models[name]

    def _checked(self, fields: Mapping[str, str]) -> AttendRequest:
        """What the form's fields ask for.

        Raises:
            LooktwiceError: a field that is unknown, or a value that is not possible.
        """
        known = ("model", "class", "methods", "steps", "trace_weight", "trajectory", *_BOX_FIELDS)
        for name in fields:
            check_known("field", name, known)
        model = self._model(fields.get("model", self._default.name))
        wanted = fields.get("class", "predicted")
        methods = tuple(dict.fromkeys(fields.get("methods", DEFAULT_METHOD).split(",")))
        for method in methods:
            check_known("method", method, METHODS)
        if len(methods) > self._limits.methods:
            raise OptionError(
                f"{len(methods)} methods are asked for; at most {self._limits.methods} are possible at once"
            )
        trajectory = number_field(fields, "trajectory", 0, most=1, whole=True) == 1
        most = self._limits.trajectory_steps if trajectory else self._limits.steps
        steps = int(number_field(fields, "steps", 0, most=most, whole=True)) if "steps" in fields else None
        return AttendRequest(
            model=model,
            target=None if wanted == "predicted" else find_class(model.classes, wanted),
            methods=methods,
            steps=steps,
            trace_weight=number_field(fields, "trace_weight", 1.0, most=100),
            rule=_box_rule(fields),
            trajectory=trajectory,
        )


_BOX_FIELDS = ("box", "threshold", "min_score", "max_boxes")


def _box_rule(fields: Mapping[str, str]) -> BoxRule:
    """The rule that the fields of the form name.

    Raises:
        OptionError: an unknown rule, or a number that is not possible.
    """
    meant = "objects" if "min_score" in fields else "contour" if "threshold" in fields else DEFAULT_BOX
    rule = fields.get("box", meant)
    most = int(number_field(fields, "max_boxes", 0, most=MOST_BOXES, whole=True)) if "max_boxes" in fields else None
    return BoxRule(
        cast(BoxKind, rule),
        number_field(fields, "threshold", DEFAULT_THRESHOLDS.get(rule, BoxRule.threshold), most=1),
        min_score=number_field(fields, "min_score", DEFAULT_MIN_SCORE, most=1),
        max_boxes=most,
    )


_ENDING = HTTPException(503, "the server is about to end; start it again")


async def _refuse(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return refusal(error.detail, error.status_code, error.headers)
    return refusal(str(error), 422)
