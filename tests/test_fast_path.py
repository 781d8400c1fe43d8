"""The fast step on gates as they come about, against exact decompositions in double precision.

On real images: LOOKTWICE_ILSVRC=FOLDER LOOKTWICE_WEIGHTS=FOLDER pytest -m data tests/test_fast_path.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from looktwice import attend, load_model, locate, read_image
from looktwice.datasets import load_dataset, shuffled
from looktwice.spectral import trace_gradient

IMAGES, WEIGHTS = os.environ.get("LOOKTWICE_ILSVRC"), os.environ.get("LOOKTWICE_WEIGHTS")
MANY = 300
DEFAULTS = {"smoothing": 1.0, "minor": "suppress", "rank": 1}


def sample_batch(model):
    paths = sorted(Path("examples/images").glob("*.jpg"))
    prepared = [model.prepare(read_image(path)) for path in paths]
    return torch.cat([images for images, _ in prepared]), [window for _, window in prepared]


def step_error(z, options):
    """Of one layer's penalty (N, C, H, W), relative to its norm, in single precision."""
    exact = trace_gradient(z.double(), solver="svd", **options)
    fast = trace_gradient(z.float(), solver="fast", **options)
    return float((fast - exact).norm() / exact.norm())


def largest_box(heat, window):
    return next((box.corners for box in locate(heat, window)), None)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("options", [{"smoothing": 1.0, "minor": "keep", "rank": None}, DEFAULTS], ids=str)
def test_the_step_on_real_gates(steps, options):
    model = load_model()
    images, _ = sample_batch(model)
    gates = [z for z in attend(model.module, images[:2], steps=steps).gates if z.ndim == 4]
    errors = [step_error(z, options) for z in gates[steps % 3 :: 3]]
    assert len(errors) > 5
    assert max(errors) <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 8])
def test_the_step_on_every_layers_real_gates(steps):
    """Large maps too, and twice as many steps as the default's."""
    model = load_model()
    images, _ = sample_batch(model)
    gates = attend(model.module, images[:2], steps=steps, layers=None).gates
    assert max(step_error(z, DEFAULTS) for z in gates if z.ndim == 4) <= 1e-3


@pytest.mark.slow
def test_maps_and_boxes_of_the_sample_pictures():
    model = load_model()
    images, windows = sample_batch(model)
    fast = attend(model.module, images).maps.numpy()
    exact = attend(model.module.double(), images.double(), solver="svd").maps.numpy()
    for one, other, window in zip(fast, exact, windows, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] >= 0.999
        assert largest_box(one, window) == pytest.approx(largest_box(other, window), abs=2)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not (IMAGES and WEIGHTS), reason="LOOKTWICE_ILSVRC and LOOKTWICE_WEIGHTS name no folders")
def test_maps_and_boxes_of_many_real_images():
    folder = Path(WEIGHTS)
    model = load_model(
        f"{folder.parent / 'models' / 'googlenet_bn.py'}:googlenet_bn",
        weights=str(folder / "googlenet_bn-imagenet.safetensors"),
        squash=True,
    )
    samples = shuffled(load_dataset(Path(IMAGES), "ilsvrc").samples, 0)[:MANY]
    same, lowest = [], 1.0
    for start in range(0, MANY, 10):
        prepared = [model.prepare(read_image(sample.image)) for sample in samples[start : start + 10]]
        images = torch.cat([batch for batch, _ in prepared])
        fast = attend(model.module, images).maps.numpy()
        exact = attend(model.module, images, solver="svd").maps.numpy()
        for one, other, (_, window) in zip(fast, exact, prepared, strict=True):
            lowest = min(lowest, float(np.corrcoef(one.ravel(), other.ravel())[0, 1]))
            same.append(largest_box(one, window) == largest_box(other, window))
    assert (lowest >= 0.999, np.mean(same) >= 0.99) == (True, True), f"{lowest:.6f}, {np.mean(same):.3f}"
