"""Requests that no page sends: each is refused in one line, with the security headers, and the server goes on."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from looktwice.errors import InputError
from looktwice.web import app as application
from looktwice.web.app import create_app
from looktwice.web.forms import Upload, decode, shown_name
from looktwice.web.guard import HEADERS
from looktwice.web.server import _Server, listen
from page import ADDRESS, client_with, picture, post, refused


def is_guarded(response):
    return all(response.headers[name] == value for name, value in HEADERS.items())


def is_turned_away(response):
    """A 4xx of one short line, with the security headers."""
    assert 400 <= response.status_code < 500, response.text
    assert is_guarded(response)
    message = response.json()["error"]
    assert message
    assert len(message) < 500
    assert message.isprintable()
    return message


LONG = "9" * 4000

NAMES = ("class", "against", "steps", "trace_weight", "threshold", "trajectory", "methods", "model", "box", "view")

FIELDS = [
    {name: value}
    for name in NAMES
    for value in ("--5", "-1", LONG, "x" * 4000, "1e400", "nan", "-inf", "a\0b", "\x1b[31m", "\ufeff", "\u202e", "",
                  " ", "'\"<script>", "%00", "a\r\nSet-Cookie: b=c", "é" * 2000)
]  # fmt: skip


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: ascii(fields)[:50])
def test_values_of_fields(client, fields):
    is_turned_away(post(client, **fields))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Origin": "\xff\xfe"}, 403),
        ({"Origin": ""}, 403),
        ({"Host": "["}, 400),
        ({"Host": "a" * 5000}, 400),
        ({"Host": "127.0.0.1:99999999999"}, 200),
    ],
)
def test_headers(client, headers, status):
    response = client.get("/api/models", headers={name: value.encode("latin-1") for name, value in headers.items()})
    assert response.status_code == status
    assert is_guarded(response)
    if status != 200:
        is_turned_away(response)


def form(body=None, kind="multipart/form-data; boundary=b"):
    disposition = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
    whole = disposition + picture() + b"\r\n--b--\r\n"
    return {"content": whole if body is None else body, "headers": {"Content-Type": kind}}


CHARSETS = ["undefined", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf-7", "utf-16", "hex", "zlib",
            "rot13", "no-such", "latin-1", "\xff", "'", "utf-8\0"]  # fmt: skip


@pytest.mark.parametrize("charset", CHARSETS, ids=ascii)
def test_forms_in_another_charset(client, charset):
    sent = form(kind=f"multipart/form-data; boundary=b; charset={charset}".encode("latin-1"))
    message = is_turned_away(client.post("/api/attend", **sent))
    assert "utf-8 is needed" in message


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8", "us-ascii"])
def test_forms_in_utf_8(client, charset):
    response = client.post("/api/attend", **form(kind=f"multipart/form-data; boundary=b; charset={charset}"))
    assert response.status_code == 200


def field(name, value, *, extra=b""):
    return b"--b\r\nContent-Disposition: form-data; name=" + name + extra + b"\r\n\r\n" + value + b"\r\n"


PICTURE = field(b"picture", picture(), extra=b"; filename=a")

BODIES = {
    "nothing": b"",
    "no boundary": b"picture",
    "another boundary": PICTURE.replace(b"--b", b"--c"),
    "no end": PICTURE[:-20],
    "bytes after the boundary": b"--bxyz\r\n\r\n",
    "a part without a name": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
    "a part without headers": b"--b\r\n\r\nx\r\n--b--\r\n",
    "a header without a colon": b"--b\r\nno colon\r\n\r\nx\r\n--b--\r\n",
    "a header with zero bytes": b"--b\r\n\0: \0\r\n\r\nx\r\n--b--\r\n",
    "two pictures": PICTURE + PICTURE + b"--b--\r\n",
    "many fields": PICTURE + b"".join(field(b"f%d" % number, b"1") for number in range(40)) + b"--b--\r\n",
    "a field twice": PICTURE + field(b"class", b"1") + field(b"class", b"2") + b"--b--\r\n",
    "a field without a name": PICTURE + field(b'""', b"1") + b"--b--\r\n",
    "a name with a line break": PICTURE + field(b'"a%0d%0ab"', b"1") + b"--b--\r\n",
    "a name that is no text": PICTURE + field(b"\xff\xfe", b"1") + b"--b--\r\n",
    "a value that is no text": PICTURE + field(b"class", b"\xff\xfe\x00") + b"--b--\r\n",
    "a value of a megabyte": PICTURE + field(b"class", b"1" * 10**6) + b"--b--\r\n",
    "a picture as a text": field(b"picture", picture()) + b"--b--\r\n",
    "a class as a file": PICTURE + field(b"class", b"1", extra=b"; filename=a") + b"--b--\r\n",
}


@pytest.mark.parametrize("case", BODIES)
def test_bodies_that_are_no_form(client, case):
    is_turned_away(client.post("/api/attend", **form(BODIES[case])))


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=é",
     "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary*=utf-9''b", ";", "="]
)  # fmt: skip
def test_kinds_of_content_that_are_no_form(client, kind):
    sent = form(kind=kind.encode("latin-1"))
    is_turned_away(client.post("/api/attend", **sent))


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "9" * 400, "", "١٢", "0x10"])
def test_lengths_that_are_no_numbers(client, length):
    sent = form()
    sent["headers"]["Content-Length"] = length.encode("utf-8")
    message = is_turned_away(client.post("/api/attend", **sent))
    assert "Content-Length" in message


@pytest.mark.parametrize(
    "query",
    ["model=x", "model=%ff%fe", "model=%00", "model=small&model=small", "query=a&query=b", "colour=red", "query[]=a",
     "%ff=%ff", "model=" + "x" * 5000]
)  # fmt: skip
def test_parameters_that_are_not_possible(client, query):
    is_turned_away(client.get(f"/api/classes?{query}"))


@pytest.mark.parametrize(
    "query", ["", "query=", "query=%ff%fe%00", "query=" + "a" * 20_000, "query=" + LONG, "query=--5", "&&=&"]
)
def test_a_search_for_anything(client, query):
    response = client.get(f"/api/classes?{query}".replace("&&=&", "query=&model=small"))
    assert response.status_code == 200
    assert is_guarded(response)


@pytest.mark.parametrize(
    "path",
    ["/%00", "/app.js%00", "/%0d%0aSet-Cookie:%20a=b", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2fetc",
     "/%ff", "/" + "a" * 5000, "/" + "a/" * 3000, "/api", "/api/attend/", "/api/models/..", "/CON"]
)  # fmt: skip
def test_addresses_of_nothing(client, path):
    response = client.get(path, follow_redirects=False)
    assert "Location" not in response.headers
    is_turned_away(response)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST", "XYZ"])
@pytest.mark.parametrize("path", ["/api/models", "/api/classes", "/app.js", "/"])
def test_other_methods(client, method, path):
    is_turned_away(client.request(method, path))


def test_a_failure_of_the_server_itself_has_the_headers(small, monkeypatch):
    def fail(*_):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(application, "asked_for", fail)
    with TestClient(create_app([small]), base_url=ADDRESS, raise_server_exceptions=False) as client:
        response = post(client)
    assert response.status_code == 500
    assert is_guarded(response)
    assert response.json() == {"error": "the server failed; its terminal says why"}


def test_refusals_for_want_of_time_and_room_have_the_headers(small):
    small.module.open.clear()
    with client_with(small, seconds=0.3, waiting=0) as client, ThreadPoolExecutor(2) as users:
        answers = [asked.result() for asked in [users.submit(post, client) for _ in range(2)]]
        small.module.open.set()
    assert sorted(answer.status_code for answer in answers) == [503, 504]
    assert all(is_guarded(answer) for answer in answers)


def test_requests_are_given_up_when_the_server_ends(small):
    small.module.open.clear()
    app = create_app([small])
    with TestClient(app, base_url=ADDRESS) as client, ThreadPoolExecutor(2) as users:
        asked = [users.submit(post, client) for _ in range(2)]
        time.sleep(0.3)
        begun = time.monotonic()
        app.state.close()
        answers = [each.result() for each in asked]
        assert time.monotonic() - begun < 0.6
        small.module.open.set()
        assert post(client).status_code == 503
    assert ["about to end" in refused(answer, 503) for answer in answers] == [True, True]


def test_a_network_whose_name_is_no_text_can_be_chosen(small):
    named = replace(small, name="caf\udce9.py:build")
    with client_with(named) as client:
        (row,) = client.get("/api/models").json()["models"]
        answer = post(client, model=row["name"], methods="gradient")
    assert row["name"] == "caf\\udce9.py:build"
    assert answer.json()["model"] == row["name"]


def test_class_names_of_any_kind_can_be_sent(small):
    with client_with(replace(small, classes=("\udce9", "\0", "\x1b[31m", "\u202e", "猫"))) as client:
        answer = post(client, methods="gradient", **{"class": 4})
        assert answer.json()["target"]["name"] == "猫"
        assert len(client.get("/api/classes", params={"query": ""}).json()["classes"]) == 5


@pytest.fixture
def served(small):
    """A server that listens, in a thread of its own."""
    with listen("127.0.0.1", 0) as connections:
        server = _Server(create_app([small]), lambda _: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [connections]})
        thread.start()
        try:
            yield connections.getsockname()
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.mark.parametrize(
    "sent",
    [b"\r\n\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
     b"GET / HTTP/1.1\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"]
)  # fmt: skip
def test_what_is_no_http_is_answered_with_the_headers(served, sent):
    with socket.create_connection(served, timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head = answer.decode("latin-1").lower()
    assert head == "" or head.startswith("http/1.1 400 ")
    if head:
        assert all(f"{name}: {value}".lower() in head for name, value in HEADERS.items())
        assert '"error"' in head


def test_a_server_goes_on_after_all_of_it(served):
    for _ in range(3):
        with socket.create_connection(served, timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: [\r\n\r\n")
    with socket.create_connection(served, timeout=10) as connection:
        connection.sendall(b"GET /api/models HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("sent", "shown"),
    [("cat.txt", "cat.txt"), (r"C:\photos\cat.txt", "cat.txt"), ("../../etc/passwd", "passwd"), ("a/", "the picture"),
     ("a\x1b[31m.png", r"a\x1b[31m.png"), ("a\u202egnp.exe", r"a\u202egnp.exe"), ("  a \n b.png ", "a b.png"),
     ("", "the picture"), ("a\udce9.png", r"a\xe9.png"),
     ("x" * 300 + ".png", "x" * 48 + "…" + "x" * 7 + ".png"), ("кот 猫.png", "кот 猫.png")]
)  # fmt: skip
def test_messages_name_the_file(sent, shown):
    assert shown_name(sent) == shown
    with pytest.raises(InputError) as refusal:
        decode(Upload(b"no picture", shown_name(sent), sent), most_pixels=100)
    assert str(refusal.value).startswith(f"{shown}: is not an image")


@pytest.mark.parametrize("name", ["cat.txt", "кот.txt", "x" * 1000])
def test_an_answer_names_the_file_that_was_sent(client, name):
    message = refused(client.post("/api/attend", files={"picture": (name, b"no picture")}), 422)
    assert message == f"{shown_name(name)}: is not an image that can be read; save it as JPEG, PNG or TIFF"


def test_a_picture_of_too_many_pixels_is_named(small):
    with client_with(small, pixels=1000) as client:
        message = refused(client.post("/api/attend", files={"picture": ("big.png", picture())}), 413)
    assert message.startswith("big.png has more than 0.001 megapixels")
