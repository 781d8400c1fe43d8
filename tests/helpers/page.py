"""The page's application with a small network, for tests."""

import base64
import io
import threading
import time
from collections import Counter

import numpy as np
import torch
from PIL import Image
from starlette.testclient import TestClient
from torch import nn

from looktwice.web.app import create_app
from looktwice.web.forms import Limits
from noise import noise

ADDRESS = "http://127.0.0.1:8123"
FIVE = ("ant", "bee eater", "Bumblebee", "bee", "dog")


PASSES = Counter()
"""Of each network; the network itself is left as found."""


class Small(nn.Module):
    """Five classes; it can be made to wait in its forward pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 5, stride=8), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
        )  # fmt: skip
        self.open = threading.Event()
        self.open.set()
        self.pause = 0.0

    @property
    def passes(self):
        return PASSES[id(self)]

    def forward(self, images):
        PASSES[id(self)] += 1
        assert self.open.wait(20)
        time.sleep(self.pause)
        return self.body(images)


def client_with(model, **limits):
    return TestClient(create_app([model], limits=Limits(**limits)), base_url=ADDRESS)


def picture(width=90, height=60, kind="PNG", **options):
    buffer = io.BytesIO()
    noise(width, height).save(buffer, kind, **options)
    return buffer.getvalue()


def post(client, data=None, **fields):
    return client.post("/api/attend", files={"picture": ("a.png", data or picture())}, data=fields)


def refused(response, status):
    assert response.status_code == status, response.text
    message = response.json()["error"]
    assert "\n" not in message
    return message


def opened(data):
    return Image.open(io.BytesIO(data))


def pixels_of(uri):
    """The pixels of a gray PNG in a data URI."""
    kind, _, text = uri.partition(",")
    assert kind == "data:image/png;base64"
    image = opened(base64.b64decode(text))
    assert image.mode == "L"
    return np.asarray(image)
