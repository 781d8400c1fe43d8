"""The fast step on gates as they come about, against exact decompositions in double precision.

On real images: LOOKTWICE_ILSVRC=FOLDER LOOKTWICE_WEIGHTS=FOLDER pytest -m data tests/test_fast_path.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from looktwice import attend, load_model, locate, read_image
from looktwice.attention.methods import METHODS
from looktwice.datasets import load_dataset, shuffled
from looktwice.feedback.trace_norm import trace_gradient
from looktwice.localization import BoxRule

IMAGES, WEIGHTS = os.environ.get("LOOKTWICE_ILSVRC"), os.environ.get("LOOKTWICE_WEIGHTS")
MIN_ITERATED = 300
CLOSE = 0.999
"""Two largest singular values with a larger ratio are as good as equal: a rounding decides which of them leads."""


def sample_batch(model):
    paths = sorted(Path("examples/images").glob("*.jpg"))
    prepared = [model.prepare(read_image(path)) for path in paths]
    return torch.cat([images for images, _ in prepared]), [window for _, window in prepared]


def step_errors(z, *, everything=False):
    """Of one layer's default penalty (N, C, H, W) in single precision, relative to its norm; and the share left out.

    Left out are channels whose leading pairs are as good as equal; where all singular values take part there are none.
    """
    options = {"minor": "keep"} if everything else {"minor": "suppress", "rank": 1}
    options["smoothing"] = METHODS["global_feedback"].options["smoothing"] * z.shape[-2] * z.shape[-1]
    gamma = torch.linalg.svdvals(z.double())
    clear = gamma[..., 1] <= (1 if everything else CLOSE) * gamma[..., 0]
    exact = trace_gradient(z.double(), solver="svd", **options)
    fast = trace_gradient(z.float(), solver="fast", **options)
    return (
        float((fast - exact)[clear].norm() / exact[clear].norm()),
        float((fast - exact).norm() / exact.norm()),
        1 - float(clear.double().mean()),
    )


def largest_box(heat, window):
    return next((box.corners for box in locate(heat, window, BoxRule("contour"))), None)


def assert_close(gates, *, most_left_out=0.005, **which):
    clear, all_of_them, left_out = zip(*(step_errors(z, **which) for z in gates if z.ndim == 4), strict=True)
    assert len(clear) > 5
    assert max(clear) <= 1e-3
    assert max(all_of_them) <= 5e-3
    assert max(left_out) <= most_left_out


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("everything", [False, True])
def test_the_step_on_real_gates(steps, everything):
    model = load_model()
    images, _ = sample_batch(model)
    gates = attend(model.module, images[:2], steps=steps).gates
    assert_close(gates[steps % 3 :: 3], everything=everything)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 8])
def test_the_step_on_every_layers_real_gates(steps):
    """Large maps too, where more channels have no clear pair, and more steps than the default's."""
    model = load_model()
    images, _ = sample_batch(model)
    assert_close(attend(model.module, images[:2], steps=steps, layers=None).gates, most_left_out=0.01)


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
    samples = shuffled(load_dataset(Path(IMAGES), "ilsvrc").samples, 0)[:MIN_ITERATED]
    same, lowest = [], 1.0
    for start in range(0, MIN_ITERATED, 10):
        prepared = [model.prepare(read_image(sample.image)) for sample in samples[start : start + 10]]
        images = torch.cat([batch for batch, _ in prepared])
        fast = attend(model.module, images).maps.numpy()
        exact = attend(model.module, images, solver="svd").maps.numpy()
        for one, other, (_, window) in zip(fast, exact, prepared, strict=True):
            lowest = min(lowest, float(np.corrcoef(one.ravel(), other.ravel())[0, 1]))
            same.append(largest_box(one, window) == largest_box(other, window))
    assert (lowest >= 0.999, np.mean(same) >= 0.99) == (True, True), f"{lowest:.6f}, {np.mean(same):.3f}"
