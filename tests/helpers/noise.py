"""Pictures of noise, for tests."""

import cv2
import numpy as np
from PIL import Image


def noise(width=60, height=40, seed=0):
    """A picture in which every pixel is drawn; another seed gives another one."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def noise_files(folder, count, width, height):
    """PNG files with a picture each."""
    files = [folder / f"photo{seed}.png" for seed in range(count)]
    for seed, file in enumerate(files):
        noise(width, height, seed).save(file)
    return files


def smooth_noise(shape, seed=0, sigma=3.0):
    """A map (H, W) of blurred noise, 0 … 1."""
    values = cv2.GaussianBlur(np.random.default_rng(seed).random(shape), (0, 0), sigma)
    return (values - values.min()) / (values.max() - values.min())
