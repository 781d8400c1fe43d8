"""Plain pictures, and where something was drawn on them."""

import numpy as np
from PIL import Image

GREY = (100, 100, 100)


def plain(width, height, colour=GREY):
    return Image.new("RGB", (width, height), colour)


def pixels(picture):
    return np.asarray(picture).astype(int)


def ink(picture, colour=GREY):
    """Which pixels are not of the plain colour."""
    return (pixels(picture) != colour).any(axis=2)
