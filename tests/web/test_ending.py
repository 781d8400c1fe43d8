"""Ctrl-C ends ``looktwice serve`` within about a second, whatever its users do just then."""

import signal
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from page import picture
from serving import serving

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")]

SLEEPING = """
import time
from looktwice.models import Model, Preprocessing
from own_networks import small_net
from torch import nn

class Sleeping(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.calls = small_net(), []
    def forward(self, x):
        if x.any():
            print("asleep", flush=True)
            time.sleep(30)
        return self.net(x)

def build():
    return Sleeping()
"""


def ask(address):
    return httpx.post(f"{address}/api/attend", files={"picture": picture()}, timeout=20)


@contextmanager
def a_request(server, address):
    """The network is in the middle of a pass."""
    with ThreadPoolExecutor(1) as users:
        asked = users.submit(ask, address)
        assert server.stdout.readline() == "asleep\n"
        yield
        assert asked.exception() is not None or asked.result().status_code == 503


@contextmanager
def a_queue(server, address):
    """Requests wait while the network works on another."""
    with ThreadPoolExecutor(4) as users:
        asked = [users.submit(ask, address) for _ in range(4)]
        assert server.stdout.readline() == "asleep\n"
        time.sleep(0.3)
        yield
        assert all(each.exception() is not None or each.result().status_code == 503 for each in asked)


@contextmanager
def sent(address, *texts):
    """Connections on which a part of a request was sent."""
    where = urlsplit(address)
    made = [socket.create_connection((where.hostname, where.port), timeout=5) for _ in texts]
    for connection, text in zip(made, texts, strict=True):
        connection.sendall(text)
    time.sleep(0.3)
    yield
    for connection in made:
        with suppress(OSError):
            connection.close()


@contextmanager
def half_an_upload(_, address):
    head = b"POST /api/attend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
    kind = b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    with sent(address, head + kind, head, b"POST /api", b""):
        yield


@contextmanager
def a_connection_that_stays_open(_, address):
    with httpx.Client(base_url=address) as client:
        assert client.get("/").status_code == 200
        yield


@contextmanager
def an_answer_that_nobody_reads(_, address):
    request = b"GET /app.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with sent(address, request * 400):
        yield


@contextmanager
def nobody(_, __):
    yield


MOMENTS = [nobody, a_request, a_queue, half_an_upload, a_connection_that_stays_open, an_answer_that_nobody_reads]


@contextmanager
def sleeping(tmp_path):
    (tmp_path / "slow.py").write_text(SLEEPING)
    with serving("--model", f"{tmp_path}/slow.py:build") as (server, address):
        yield server, address


@pytest.mark.parametrize("times", [1, 5])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_program_ends_within_a_second_of_ctrl_c(tmp_path, moment, times):
    with sleeping(tmp_path) as (server, address), moment(server, address):
        begun = time.monotonic()
        for _ in range(times):
            server.send_signal(signal.SIGINT)
            time.sleep(0.1)
        said = server.communicate(timeout=20)[1]
        assert time.monotonic() - begun < 1.3
        assert (said, server.returncode) == ("looktwice: stopped\n", 130)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_program_that_is_terminated_ends_as_soon_and_says_nothing(tmp_path, moment):
    with sleeping(tmp_path) as (server, address), moment(server, address):
        begun = time.monotonic()
        server.terminate()
        said = server.communicate(timeout=20)[1]
        assert time.monotonic() - begun < 1.3
        assert (said, server.returncode) in [("", -signal.SIGTERM), ("", 128 + signal.SIGTERM)]


FOLDERS = [Path(tempfile.gettempdir()), Path("/dev/shm")]


def found_there():
    return {file for folder in FOLDERS if folder.is_dir() for file in folder.glob("looktwice-*")}


def test_an_export_that_is_cut_off_leaves_no_picture(tmp_path):
    """A GIF becomes a PNG, which takes longer than the program's end."""
    before = found_there()
    data = picture(3600, 3600, kind="GIF")
    fields = {"form": "yolo", "classes": '[{"index": 0, "probability": 1}]', "boxes": "[]"}

    def export(address):
        return httpx.post(f"{address}/api/export", files={"picture": ("a.gif", data)}, data=fields, timeout=60)

    with sleeping(tmp_path) as (server, address), ThreadPoolExecutor(1) as users:
        asked = users.submit(export, address)
        time.sleep(0.8)
        assert not asked.done()
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=20)[1] == "looktwice: stopped\n"
        assert asked.exception() is not None or asked.result().status_code == 503
    assert found_there() == before
