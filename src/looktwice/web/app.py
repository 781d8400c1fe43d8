"""The page to try it: an API in front of one thread that runs the network, and the static files in ``web``.

An upload stays in memory, from its request to its answer, and reaches no disk.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from looktwice.attention.methods import METHODS
from looktwice.errors import LooktwiceError, OptionError
from looktwice.localization.boxes import BoxKind, BoxRule
from looktwice.models.load import Model, find_class
from looktwice.options import check_known
from looktwice.web.forms import AttendRequest, Limits, number_field, read_form
from looktwice.web.guard import Guard
from looktwice.web.worker import look

SHOWN_CLASSES = 20
"""Classes in the answer to a search."""


def create_app(models: Sequence[Model], *, hosts: Sequence[str] = (), limits: Limits | None = None) -> Starlette:
    """The page and its API as an ASGI application.

    Answers are JSON; one that is no 200 is ``{"error": MESSAGE}`` with one line of text: 413 for an upload that is too
    large, 422 for one that is no picture and for choices that cannot be had, 503 when too many wait, 504 when the time
    is up. The paths are the methods of ``AttendService``.

    Args:
        models: the networks on offer, the first as the default.
        hosts: names besides localhost and this machine's own under which it may be called.
        limits: of a request and of the queue; the usual ones when left out.
    """
    desk = AttendService(models, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()

    routes = [
        Route("/api/models", desk.list_models),
        Route("/api/methods", desk.list_methods),
        Route("/api/classes", desk.search_classes),
        Route("/api/attend", desk.attend, methods=["POST"]),
        Mount("/", StaticFiles(directory=Path(__file__).parent / "static", html=True)),
    ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={HTTPException: _refuse, LooktwiceError: _refuse, Exception: _internal_error},
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 is any that is free.

    Raises:
        OptionError: the host is not this machine's, or the port is taken or not allowed.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"{host} port {port} cannot be used ({reason}); name another --port or --host") from error


def serve(app: Starlette, connections: socket.socket) -> None:
    """Answers requests until the process is interrupted."""
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[connections])


class AttendService:
    """Takes requests, has one thread work them off in their order, and answers."""

    def __init__(self, models: Sequence[Model], limits: Limits) -> None:
        self._models = {model.name: model for model in models}
        self._default = models[0]
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="looktwice")
        self._places = threading.BoundedSemaphore(limits.waiting + 1)

    def close(self) -> None:
        """Drops what waits."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def list_models(self, _: Request) -> Response:
        """``GET /api/models`` → ``{"models": [{name, weights, classes, input}], "limits": {...}}``, the default first.

        ``classes`` is their number, ``input`` the side of the network's square input in pixels.
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
        return JSONResponse({"models": rows, "limits": asdict(self._limits)})

    async def list_methods(self, _: Request) -> Response:
        """``GET /api/methods`` → ``{"methods": [{name, summary, source, iterative, options}]}``.

        ``options`` are the defaults; an ``iterative`` method has a score, and can have a map, after each step.
        """
        rows = [
            {
                "name": name,
                "summary": row.summary,
                "source": row.source,
                "iterative": row.optimise is not None,
                "options": dict(row.options),
            }
            for name, row in METHODS.items()
        ]
        return JSONResponse({"methods": rows})

    async def search_classes(self, request: Request) -> Response:
        """``GET /api/classes?model=NAME&query=TEXT`` → ``{"classes": [{index, name}]}``, at most 20.

        Those whose names hold the text, in whatever case: first the one that is it, then those that have it as a word,
        then those that begin with it. A whole number finds the class of that index as well. Without ``model`` the
        default one is searched.
        """
        model = self._model(request.query_params.get("model", self._default.name))
        query = request.query_params.get("query", "").strip().casefold()
        names = [name.casefold() for name in model.classes]
        found = [index for index, name in enumerate(names) if query in name or query == str(index)]

        def distance(index: int) -> tuple[bool, bool, bool]:
            name = names[index]
            return name != query, f" {query} " not in f" {name} ", not name.startswith(query)

        found.sort(key=distance)
        return JSONResponse(
            {"classes": [{"index": index, "name": model.classes[index]} for index in found[:SHOWN_CLASSES]]}
        )

    async def attend(self, request: Request) -> Response:
        """``POST /api/attend``, a multipart form → what the network attends to in a picture.

        Fields, of which all but the first may be left out:

        - ``picture``: a file (JPEG, PNG, WebP, BMP, GIF, TIFF, PPM), turned upright as its EXIF orientation says;
        - ``model``: a name of ``/api/models``;
        - ``class``: ``predicted``, or a name or index;
        - ``methods``: names of ``/api/methods`` with commas between; ``global_feedback`` when left out;
        - ``steps``: of the iterative methods;
        - ``trace_weight``: λ in units of the method's default, which is 1 for ``global_feedback``; a method whose
          default is 0 keeps it;
        - ``box``: ``contour`` or ``energy``; ``threshold``: its share (0.2, for energy 0.95);
        - ``trajectory``: 1 adds the map after each step, for up to 10 steps.

        The answer::

            {"model", "weights",
             "picture": {"width", "height", "preview": data URI of a JPEG, at most 1024 pixels on a side},
             "window": [left, top, right, bottom] of the part the network saw, in pixels of the picture,
             "predicted": [{"index", "name", "probability"}], the five most probable, "target": one such,
             "box_rule": {...},
             "methods": [{"name", "source", "options", "seconds", "scores": S_k at the start and after each step,
                          "map": data URI of a PNG, 8-bit gray at the input's size,
                          "boxes": [{"x1", "y1", "x2", "y2", "score"}], half-open pixels of the picture,
                          "trajectory": [{"map", "boxes"}] after 0, 1 … steps, or null}]}

        A method that failed has ``name`` and ``error`` alone. A request that its client has given up is dropped.
        """
        if not self._places.acquire(blocking=False):
            raise HTTPException(503, "too many pictures are waiting; try again in a few seconds", {"Retry-After": "5"})
        try:
            return JSONResponse(await asyncio.wait_for(self._work_off(request), self._limits.seconds))
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except asyncio.TimeoutError:
            remedy = "take fewer methods or steps, or a smaller network"
            raise HTTPException(504, f"not done after {self._limits.seconds:g} seconds; {remedy}") from None
        finally:
            self._places.release()

    async def _work_off(self, request: Request) -> dict[str, Any]:
        upload, fields = await read_form(request, self._limits)
        wish = self._wish(fields)
        given_up = threading.Event()
        job = self._thread.submit(look, upload, wish, self._limits, given_up)
        answer = asyncio.wrap_future(job)
        try:
            while not (await asyncio.wait([answer], timeout=0.25))[0]:
                if await request.is_disconnected():
                    raise ClientDisconnect
            return answer.result()
        finally:
            given_up.set()
            answer.cancel()

    def _model(self, name: str) -> Model:
        check_known("model", name, self._models)
        return self._models[name]

    def _wish(self, fields: Mapping[str, str]) -> AttendRequest:
        """The form's fields, checked."""
        known = ("model", "class", "methods", "steps", "trace_weight", "box", "threshold", "trajectory")
        for name in fields:
            check_known("field", name, known)
        model = self._model(fields.get("model", self._default.name))
        wanted = fields.get("class", "predicted")
        methods = tuple(dict.fromkeys(fields.get("methods", "global_feedback").split(",")))
        for method in methods:
            check_known("method", method, METHODS)
        if len(methods) > self._limits.methods:
            raise OptionError(
                f"{len(methods)} methods are asked for; at most {self._limits.methods} can be had at once"
            )
        trajectory = number_field(fields, "trajectory", 0, most=1, whole=True) == 1
        most = self._limits.trajectory_steps if trajectory else self._limits.steps
        steps = int(number_field(fields, "steps", 0, most=most, whole=True)) if "steps" in fields else None
        rule = fields.get("box", "contour")
        threshold = number_field(fields, "threshold", 0.95 if rule == "energy" else 0.2, most=1)
        return AttendRequest(
            model=model,
            target=None if wanted == "predicted" else find_class(model.classes, wanted),
            methods=methods,
            steps=steps,
            trace_weight=number_field(fields, "trace_weight", 1.0, most=100),
            rule=BoxRule(cast(BoxKind, rule), threshold),
            trajectory=trajectory,
        )


async def _refuse(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
    return JSONResponse({"error": str(error)}, 422)


async def _internal_error(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its terminal says how"}, 500)
