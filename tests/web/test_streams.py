"""The page's API in parts: a line of JSON for each event, as it happens."""

import asyncio
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from looktwice.attention.api import attend
from looktwice.explain.explanation import gate_openness
from looktwice.web import app as application
from looktwice.web.app import create_app
from looktwice.web.forms import Limits
from looktwice.web.guard import HEADERS
from looktwice.web.server import _Server, listen
from page import ADDRESS, FIVE, client_with, opened, picture, pixels_of, post, refused

STREAM = {"Accept": "application/x-ndjson"}


def events_of(response):
    return [json.loads(line) for line in response.iter_lines()]


def streamed(client, data=None, **fields):
    files = {"picture": ("a.png", data or picture())}
    response = client.post("/api/attend", files=files, data=fields, headers=STREAM)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert all(response.headers[name] == value for name, value in HEADERS.items())
    return events_of(response)


def without_seconds(answer):
    return {**answer, "methods": [{**row, "seconds": None} for row in answer["methods"]]}


@pytest.mark.parametrize("fields", [{}, {"class": 1, "against": "dog"}, {"trajectory": 1, "steps": 2}], ids=str)
def test_the_parts_are_the_answer(client, fields):
    fields |= {"methods": "gradient,global_feedback"}
    first, *maps, end = [event for event in streamed(client, **fields) if event["event"] != "waiting"]
    assert [event.pop("event") for event in (first, *maps, end)] == ["seen", *["map"] * len(maps), "end"]
    assert without_seconds({**first, "methods": maps}) == without_seconds(post(client, **fields).json())
    assert end == {}


@pytest.fixture
def served(small):
    """A server that listens, in a thread of its own. A client that reads in parts needs one."""
    with listen("127.0.0.1", 0) as connections, running(create_app([small]), connections) as address:
        try:
            yield address
        finally:
            small.module.open.set()


@contextmanager
def running(app, connections):
    server = _Server(app, lambda _: None)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [connections]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{connections.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def attending(address, **fields):
    """A request whose answer is read in parts."""
    files = {"picture": ("a.png", picture())}
    return httpx.stream("POST", f"{address}/api/attend", files=files, data=fields, headers=STREAM, timeout=20)


def test_each_part_comes_when_it_is_known(served, small):
    httpx.post(f"{served}/api/attend", files={"picture": picture()})  # a new network is measured first
    with attending(served, methods="gradient,global_feedback", steps=2) as response:
        lines = map(json.loads, response.iter_lines())
        kinds, name = [], None
        while name is None:
            event = next(lines)
            kinds.append(event["event"])
            name = event.get("name")
            small.module.pause = 0.3  # from here on a pass is slow
        assert (kinds, name) == (["waiting", "seen", "map"], "gradient")
        begun = time.monotonic()
        assert next(lines)["name"] == "global_feedback"
        assert time.monotonic() - begun > 0.25
        assert next(lines) == {"event": "end"}


def test_the_place_in_the_line_is_told_each_time_it_changes(served, small):
    small.module.open.clear()

    def places(number):
        with attending(served, methods="gradient") as response:
            events = []
            for line in response.iter_lines():
                events.append(json.loads(line))
                told[number].set()
        return [event["before"] for event in events if event["event"] == "waiting"]

    told = [threading.Event() for _ in range(3)]
    with ThreadPoolExecutor(3) as users:
        asked = []
        for number in range(3):
            asked.append(users.submit(places, number))
            assert told[number].wait(10)
        small.module.open.set()
        first, second, third = [each.result() for each in asked]
    assert first == [0]
    assert second == [1, 0]
    assert third[0] == 2
    assert third == sorted(third, reverse=True)


def test_a_client_that_goes_away_is_dropped_and_the_network_stops(served, small):
    small.module.pause = 0.05
    with attending(served, steps=50) as response:
        for line in response.iter_lines():
            if json.loads(line)["event"] == "seen":
                break
    small.module.pause = 0.0
    with attending(served, methods="gradient") as response:
        assert events_of(response)[-1] == {"event": "end"}
    passes = small.module.passes
    time.sleep(0.3)
    assert small.module.passes == passes < 30
    assert not small.module._forward_pre_hooks


def test_places_come_back_after_every_kind_of_end(small):
    with client_with(small, waiting=0) as client:
        for data, fields in [(None, {}), (b"no picture", {}), (None, {"methods": "x"})] * 3:
            client.post("/api/attend", files={"picture": data or picture()}, data=fields, headers=STREAM)
        assert post(client, methods="gradient").status_code == 200


def unread(app):
    """Streams an answer to a client that reads nothing of it, until the server ends that."""
    request = httpx.Request(
        "POST",
        f"{ADDRESS}/api/attend",
        files={"picture": ("a.png", picture())},
        data={"methods": "gradient"},
        headers=STREAM,
    )
    body = request.read()
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    scope = {"type": "http", "method": "POST", "path": "/api/attend", "query_string": b"", "headers": headers}
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()  # as when all buffers on the way are full

    asyncio.run(asyncio.wait_for(app(scope | {"asgi": {"spec_version": "2.4"}}, receive, send), 20))
    return sent


def test_a_client_that_does_not_read_loses_its_place_when_the_time_is_up(small, monkeypatch):
    monkeypatch.setattr(application, "GRACE", 0.2)
    app = create_app([small], limits=Limits(waiting=0, seconds=0.5))
    begun = time.monotonic()
    assert unread(app) == ["http.response.start", "http.response.body"]
    assert 0.6 < time.monotonic() - begun < 5
    with TestClient(app, base_url=ADDRESS) as client:
        assert post(client, methods="gradient").status_code == 200


def test_a_real_client_that_does_not_read_loses_its_place(small, monkeypatch, capfd):
    """Its connection takes a few kilobytes, and the answer is of megabytes."""

    def many(*_):
        for number in range(200):
            yield application.Event("map", {"number": number, "map": "x" * 100_000})

    monkeypatch.setattr(application, "GRACE", 0.2)
    monkeypatch.setattr(application, "answers", many)
    app = create_app([small], limits=Limits(waiting=0, seconds=1.0))
    with (
        listen("127.0.0.1", 0) as connections,
        running(app, connections) as address,
        attending(address) as response,
    ):
        assert response.status_code == 200
        assert httpx.post(f"{address}/api/attend", files={"picture": picture()}).status_code == 503
        time.sleep(1.5)
        monkeypatch.setattr(application, "answers", lambda *_: iter([application.Event("seen", {})]))
        assert httpx.post(f"{address}/api/attend", files={"picture": picture()}).status_code == 200
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("data", "status", "said"), [(b"not a picture", 422, "not an image"), (picture(400, 400), 413, "megapixels")]
)
def test_a_picture_that_is_refused_is_the_last_event(small, data, status, said):
    with client_with(small, pixels=10_000) as client:
        *others, last = streamed(client, data)
        assert (last["event"], last["status"]) == ("error", status)
        assert said in last["error"]
        assert {event["event"] for event in others} <= {"waiting"}


def test_a_form_that_is_refused_has_its_status(client):
    assert "unknown method" in refused(
        client.post("/api/attend", files={"picture": picture()}, data={"methods": "x"}, headers=STREAM), 422
    )


def test_the_end_of_the_time_is_an_event(small):
    small.module.pause = 0.05
    with client_with(small, seconds=0.4) as client:
        last = streamed(client, steps=50)[-1]
    assert (last["event"], last["status"]) == ("error", 504)
    assert "0.4 seconds" in last["error"]


def test_the_end_of_the_server_is_an_event(small):
    small.module.open.clear()
    app = create_app([small])
    with TestClient(app, base_url=ADDRESS) as client, ThreadPoolExecutor(1) as users:
        asked = users.submit(streamed, client)
        time.sleep(0.3)
        app.state.close()
        last = asked.result()[-1]
        small.module.open.set()
    assert (last["event"], last["status"]) == ("error", 503)
    assert "about to end" in last["error"]


def test_a_failure_of_the_server_itself_is_an_event(small, monkeypatch):
    def fail(*_):
        yield application.Event("seen", {})
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(application, "answers", fail)
    with TestClient(create_app([small]), base_url=ADDRESS, raise_server_exceptions=False) as client:
        last = streamed(client)[-1]
    assert last == {"event": "error", "status": 500, "error": "the server failed; its terminal says why"}


def test_a_method_that_fails_is_a_map_event_with_an_error(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    rows = [event for event in streamed(client, methods="integrated_gradients,gradient") if event["event"] == "map"]
    assert ["error" in row for row in rows] == [True, False]


# Two classes, gates, doubts, and the first look.


def test_two_classes_of_one_picture_share_a_pass(client, small):
    post(client)
    before = small.module.passes
    answer = post(client, methods="gradient,feedback", steps=1, **{"class": "ant", "against": "dog"}).json()
    assert small.module.passes == before + 1 + 2 * (1 + 2)  # the plain one; a gradient's, and two of one step
    assert (answer["target"]["name"], answer["against"]["name"]) == ("ant", "dog")
    pairs = [(row["name"], row["class"]) for row in answer["methods"]]
    assert pairs == [("gradient", 0), ("gradient", 4), ("feedback", 0), ("feedback", 4)]
    alone = post(client, methods="gradient,feedback", steps=1, **{"class": "dog"}).json()["methods"]
    assert [row["map"] for row in answer["methods"][1::2]] == [row["map"] for row in alone]


@pytest.mark.parametrize("fields", [{"against": "dog", "class": 4}, {}], ids=str)
def test_a_class_against_itself_or_none_is_one_class(client, fields):
    answer = post(client, methods="gradient", **fields).json()
    assert answer["against"] is None
    assert len(answer["methods"]) == 1


def test_an_unknown_class_to_compare_with_is_refused(client):
    assert "zebra" in refused(post(client, against="zebra"), 422)


def test_an_unknown_view_is_refused(client):
    assert "whole, centre" in refused(post(client, view="left"), 422)


def test_gates_are_told_with_their_map(client, small):
    gradient, found = post(client, methods="gradient,feedback", steps=1, view="centre").json()["methods"]
    assert (gradient["gates"], gradient["open"]) == (None, None)
    pixels, _ = small.prepare(opened(picture()))
    attention = attend(small.module, pixels, method="feedback", steps=1)
    openness = gate_openness(attention.layers, attention.gates, (64, 64))[0].numpy()
    assert found["open"] == pytest.approx(openness.mean(), rel=1e-5)
    expected = (openness / openness.max() * 255).round()
    assert np.abs(pixels_of(found["gates"]).astype(float) - expected).max() <= 1


def test_doubts_are_told_of_the_network_and_of_each_class(small):
    small.module.body[-1].bias.data[:] = 0
    small.module.body[-1].bias.data[1] = 20.0
    with client_with(replace(small, weights="random")) as client:
        answer = post(client, methods="gradient", **{"class": 1, "against": 4}).json()
    random, improbable = answer["doubts"]
    assert "random" in random
    assert improbable.startswith("dog is improbable")
    assert [row["doubts"] for row in answer["methods"]] == [[random], [random, improbable]]


def test_an_answer_without_doubts_has_none(small):
    small.module.body[-1].bias.data[1] = 20.0
    with client_with(small) as client:
        assert post(client, methods="gradient").json()["doubts"] == []
    assert small.weights == "drawn"
    assert FIVE[1] == "bee eater"


def test_a_warm_network_was_measured_before_the_first_picture(small):
    with TestClient(create_app([small, replace(small, name="other")], warm=True), base_url=ADDRESS) as client:
        deadline = time.monotonic() + 10
        while not (before := small.module.passes) and time.monotonic() < deadline:
            time.sleep(0.05)
        post(client, methods="gradient")  # after the thread's first work
        warm = small.module.passes
        post(client, methods="gradient")
        assert small.module.passes - warm == 2
    assert before


def test_a_network_that_fails_when_it_warms_up_fails_for_its_picture_alone(small):
    def fail(_):
        raise RuntimeError("broken")

    small.module.body[0].forward = fail
    with TestClient(create_app([small], warm=True), base_url=ADDRESS, raise_server_exceptions=False) as client:
        assert client.get("/api/models").status_code == 200
        assert post(client).status_code == 500
