"""Encoded pictures read back."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from looktwice.figures.encode import data_uri, png_bytes


@pytest.mark.parametrize("shape", [(3, 5, 3), (3, 5)])
def test_a_png_keeps_every_pixel(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(io.BytesIO(png_bytes(Image.fromarray(pixels)))) as read:
        assert read.format == "PNG"
        assert (np.asarray(read) == pixels).all()


def test_a_data_uri_holds_its_kind_and_all_bytes():
    content = bytes(range(256))
    head, _, text = data_uri("jpeg", content).partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(text) == content
