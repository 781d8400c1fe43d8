"""The page to try it: an API in front of one thread that runs the network, and the static files in ``web``.

An upload stays in memory, from its request to its answer, and reaches no disk.
"""

import asyncio
import base64
import ipaddress
import math
import socket
import threading
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor, nn

from looktwice.classifier import FrozenNetwork, frozen
from looktwice.errors import InputError, LooktwiceError, MissingExtraError, ModelError, OptionError
from looktwice.figures import scaled
from looktwice.images import Window, _to_rgb
from looktwice.localization import BoxRule, Rule, locate
from looktwice.models import Model, find_class
from looktwice.options import check_known
from looktwice.saliency import METHODS, Attention, FirstPass, attend_frozen, first_pass, resolve_options

try:
    import python_multipart  # noqa: F401 - Starlette's parser of forms, which it loads late
    import uvicorn
    from starlette.applications import Starlette
    from starlette.datastructures import Headers, MutableHeaders, UploadFile
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException, MultiPartParser
    from starlette.middleware import Middleware
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as error:
    raise MissingExtraError(
        f"the page needs the package {error.name}, which is missing: pip install 'looktwice[web]'"
    ) from error

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Kinds of upload that are opened; some other readers of Pillow start programs."""

PREVIEW = 1024
"""Longer side, in pixels, of the picture that comes back to lie under the maps."""

GUESSES = 5
"""Predicted classes in an answer."""

SHOWN_CLASSES = 20
"""Classes in the answer to a search."""

FORM_BYTES = 64 * 1024
"""Room beside the picture for the other fields and the boundaries between them."""

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


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and how many may wait while the network is busy with another."""

    upload_bytes: int = 20_000_000
    pixels: int = 50_000_000
    methods: int = 6
    steps: int = 50
    trajectory_steps: int = 10
    seconds: float = 120.0
    waiting: int = 8


@dataclass(frozen=True)
class Wish:
    """What a request asks for: target ``None`` is the predicted class, steps ``None`` each method's own number."""

    model: Model
    target: int | None
    methods: tuple[str, ...]
    steps: int | None
    trace_weight: float
    rule: BoxRule
    trajectory: bool


def create_app(models: Sequence[Model], *, hosts: Sequence[str] = (), limits: Limits = Limits()) -> Starlette:
    """The page and its API as an ASGI application.

    Answers are JSON; one that is no 200 is ``{"error": MESSAGE}`` with one line of text: 413 for an upload that is too
    large, 422 for one that is no picture and for choices that cannot be had, 503 when too many wait, 504 when the time
    is up. The paths are the methods of ``Desk``.

    Args:
        models: the networks on offer, the first as the default.
        hosts: names besides localhost and this machine's own under which it may be called.
        limits: of a request and of the queue.
    """
    desk = Desk(models, limits)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()

    routes = [
        Route("/api/models", desk.list_models),
        Route("/api/methods", desk.list_methods),
        Route("/api/classes", desk.search_classes),
        Route("/api/attend", desk.attend, methods=["POST"]),
        Mount("/", StaticFiles(directory=Path(__file__).parent / "web", html=True)),
    ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={HTTPException: _refuse, LooktwiceError: _refuse, Exception: _apologise},
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


class Desk:
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
                "options": row.options,
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
        upload, fields = await _read_form(request, self._limits)
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

    def _wish(self, fields: Mapping[str, str]) -> Wish:
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
        trajectory = _number(fields, "trajectory", 0, most=1, whole=True) == 1
        most = self._limits.trajectory_steps if trajectory else self._limits.steps
        steps = int(_number(fields, "steps", 0, most=most, whole=True)) if "steps" in fields else None
        rule = fields.get("box", "contour")
        threshold = _number(fields, "threshold", 0.95 if rule == "energy" else 0.2, most=1)
        return Wish(
            model=model,
            target=None if wanted == "predicted" else find_class(model.classes, wanted),
            methods=methods,
            steps=steps,
            trace_weight=_number(fields, "trace_weight", 1.0, most=100),
            rule=BoxRule(cast(Rule, rule), threshold),
            trajectory=trajectory,
        )


def _number(fields: Mapping[str, str], name: str, default: float, *, most: float, whole: bool = False) -> float:
    """A field from 0 to ``most``."""
    if name not in fields:
        return default
    try:
        value = int(fields[name]) if whole else float(fields[name])
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise OptionError(f"{name} is {fields[name]!r}; {kind} from 0 to {most:g} is needed")
    return value


async def _read_form(request: Request, limits: Limits) -> tuple[bytes, dict[str, str]]:
    """The picture's bytes and the other fields of a multipart form, read no further than the limit goes."""
    too_large = HTTPException(413, f"the upload is larger than {limits.upload_bytes / 1e6:g} MB; scale it down first")
    most = limits.upload_bytes + FORM_BYTES
    if int(request.headers.get("content-length", 0)) > most:
        raise too_large

    async def counted() -> AsyncGenerator[bytes, None]:
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            if total > most:
                raise too_large
            yield chunk

    parser = MultiPartParser(request.headers, counted(), max_files=1, max_fields=16, max_part_size=4096)
    parser.spool_max_size = most + 1  # never to disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise HTTPException(422, "a multipart form with one file, picture, is needed") from error
    try:
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        upload = form.get("picture")
        if not isinstance(upload, UploadFile):
            raise HTTPException(422, "no picture came with the request; send one as the file field picture")
        data = await upload.read()
    finally:
        await form.close()
    if len(data) > limits.upload_bytes:
        raise too_large
    return data, fields


# The network's part, in its own thread.


class GivenUpError(LooktwiceError):
    """Nobody waits for the answer any more."""


def look(upload: bytes, wish: Wish, limits: Limits, given_up: threading.Event) -> dict[str, Any]:
    """The answer of ``POST /api/attend``.

    Raises:
        LooktwiceError: the upload is no picture, or the network has no scores for it.
        HTTPException: the picture is too large.
        GivenUpError: the event was set meanwhile; the network stops at its next pass.
    """
    picture = decode(upload, most_pixels=limits.pixels)
    pixels, window = wish.model.prepare(picture)
    with _until(given_up, wish.model.module), frozen(wish.model.module) as network:
        options = {method: _options(method, wish) for method in wish.methods}
        first = first_pass(network, pixels, compare=any(chosen["spread"] for chosen in options.values()))
        if not first.scores.isfinite().all():
            raise ModelError("the network's scores for this picture are not finite; take another network or picture")
        probabilities = first.scores[0].detach().double().softmax(0).cpu()
        target = int(probabilities.argmax()) if wish.target is None else wish.target
        shot = Shot(network, first, pixels, torch.tensor([target], device=pixels.device), window)
        methods = [_finding_or_error(shot, method, options[method], wish) for method in wish.methods]

    def guess(index: int) -> dict[str, Any]:
        return {"index": index, "name": wish.model.classes[index], "probability": float(probabilities[index])}

    return {
        "model": wish.model.name,
        "weights": wish.model.weights,
        "picture": {"width": window.width, "height": window.height, "preview": _preview(picture)},
        "window": [window.left, window.top, window.right, window.bottom],
        "predicted": [guess(index) for index in probabilities.topk(min(GUESSES, len(probabilities))).indices.tolist()],
        "target": guess(target),
        "box_rule": asdict(wish.rule),
        "methods": methods,
    }


def decode(upload: bytes, *, most_pixels: int) -> Image.Image:
    """An upload as an upright 8-bit RGB picture, as ``images.read_image`` makes it of a file.

    Raises:
        HTTPException: 413, more pixels than allowed, by the header, before any is decoded.
        InputError: no picture, of a kind not taken here, or a damaged one.
    """
    name = Path("the upload")
    too_large = HTTPException(413, f"the picture has more than {most_pixels / 1e6:g} megapixels; scale it down first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow's own limit lies elsewhere
            image = Image.open(BytesIO(upload), formats=FORMATS)
        if image.width * image.height > most_pixels:
            raise too_large
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image), name)
    except Image.DecompressionBombError:
        raise too_large from None
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is no picture that can be read here; take a JPEG, PNG or WebP file") from error
    except (HTTPException, InputError):
        raise
    except Exception as error:  # on broken bytes Pillow's decoders raise nearly anything: OSError, SyntaxError, zlib …
        raise InputError(
            f"{name} is damaged or cut short ({' '.join(str(error).split())}); take another file"
        ) from error


@contextmanager
def _until(given_up: threading.Event, module: nn.Module) -> Iterator[None]:
    """Every pass through the network inside the ``with`` first asks whether anybody still waits for it."""

    def check(*_: object) -> None:
        if given_up.is_set():
            raise GivenUpError("the request was given up")

    check()
    handle = module.register_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class Shot:
    """A picture as the network gets it (1, 3, H, W), the class to look for (1,), the part of the picture it covers."""

    network: FrozenNetwork
    first: FirstPass
    pixels: Tensor
    target: Tensor
    window: Window


def _finding_or_error(shot: Shot, method: str, options: dict[str, Any], wish: Wish) -> dict[str, Any]:
    try:
        return _finding(shot, method, options, wish)
    except GivenUpError:
        raise
    except LooktwiceError as error:  # a package that is missing, a network this one method cannot be used on
        return {"name": method, "error": str(error)}
    except torch.OutOfMemoryError:
        return {"name": method, "error": "the device's memory is too small for this method on this network"}


def _finding(shot: Shot, method: str, options: dict[str, Any], wish: Wish) -> dict[str, Any]:
    begun = time.perf_counter()
    attention = _attend(shot, method, options)
    seconds = time.perf_counter() - begun
    last = _drawn(attention, shot.window, wish.rule)
    trajectory = None
    if wish.trajectory and METHODS[method].optimise is not None:
        before = (_attend(shot, method, options | {"steps": steps}) for steps in range(options["steps"]))
        trajectory = [*(_drawn(earlier, shot.window, wish.rule) for earlier in before), last]
    return {
        "name": method,
        "source": METHODS[method].source,
        "options": options,
        "seconds": seconds,
        "scores": attention.scores[0].tolist(),
        **last,
        "trajectory": trajectory,
    }


def _options(method: str, wish: Wish) -> dict[str, Any]:
    """All of a method's options. λ is asked for in units of the default, since each method measures it in its own."""
    options = resolve_options(method, {})
    if wish.steps is not None and METHODS[method].optimise is not None:
        options["steps"] = wish.steps
    if "trace_weight" in options:
        options["trace_weight"] *= wish.trace_weight
    return options


def _attend(shot: Shot, method: str, options: Mapping[str, Any]) -> Attention:
    attention = attend_frozen(shot.network, shot.first, shot.pixels, shot.target, method, options)
    if not attention.scores.isfinite().all():
        raise ModelError("the score grew beyond all numbers; take fewer steps or a larger λ")
    return attention


def _drawn(attention: Attention, window: Window, rule: BoxRule) -> dict[str, Any]:
    heat = attention.maps[0].float().cpu().numpy()
    gray = Image.fromarray((heat * 255).round().astype(np.uint8))
    return {"map": _data_uri(gray, "PNG"), "boxes": [asdict(box) for box in locate(heat, window, rule)]}


def _preview(picture: Image.Image) -> str:
    return _data_uri(scaled(picture, PREVIEW), "JPEG")


def _data_uri(image: Image.Image, kind: Literal["PNG", "JPEG"]) -> str:
    buffer = BytesIO()
    image.save(buffer, kind, **({"quality": 88} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


# Who may ask, and what every answer carries.


class Guard:
    """Refuses what another site's page could send a browser to do here, and adds the security headers.

    The Host header must be an IP address, localhost, or a name this machine is known by: a name of someone else's that
    was made to point here (DNS rebinding) is none of these. A request that says which site it is from must be from
    this one.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._names = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._app
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_own(host):
            answer = JSONResponse({"error": f"this page is not known as {host!r}; open it by its address"}, 400)
        elif "origin" in headers and urlsplit(headers["origin"]).netloc != host:
            answer = JSONResponse({"error": "the request comes from another site's page"}, 403)
        await answer(scope, receive, send_with_headers)

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self._names:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


async def _refuse(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
    return JSONResponse({"error": str(error)}, 422)


async def _apologise(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its terminal says how"}, 500)
