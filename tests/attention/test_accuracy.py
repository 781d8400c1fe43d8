"""Do the networks still classify? Real images and weights are needed: they stay outside the repository.

LOOKTWICE_ILSVRC=FOLDER LOOKTWICE_WEIGHTS=FOLDER pytest -m data tests/test_accuracy.py
"""

import os
from pathlib import Path

import pytest
import torch

from looktwice.datasets import load_dataset
from looktwice.images import read_image
from looktwice.models import load_model

IMAGES, WEIGHTS = os.environ.get("LOOKTWICE_ILSVRC"), os.environ.get("LOOKTWICE_WEIGHTS")
FIRST = 200


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not IMAGES, reason="LOOKTWICE_ILSVRC names no folder of ILSVRC's validation images")
@pytest.mark.parametrize(
    ("name", "file", "least_top1", "least_top5"),
    [
        ("efficientnet_lite0", None, 66, 85),
        ("googlenet_bn.py:googlenet_bn", "googlenet_bn-imagenet.safetensors", 64, 84),
        ("resnet50", "resnet50-imagenet.safetensors", 53, 75),
        ("squeezenet1_1", "squeezenet1_1-imagenet.safetensors", 46, 72),
    ],
)
def test_accuracy_on_real_images(name, file, least_top1, least_top5):
    """Least figures: those measured (71.5/89.5, 69.0/88.0, 58.5/80.0, 52.0/77.0), less 1.5 standard errors."""
    if file and not WEIGHTS:
        pytest.skip("LOOKTWICE_WEIGHTS names no folder of weights")
    folder = Path(WEIGHTS or "")
    network = str(folder.parent / "models" / name) if ".py:" in name else name
    model = load_model(network, weights=str(folder / file) if file else "default", squash=True)
    hits = torch.zeros(2)
    for sample in load_dataset(Path(IMAGES), "ilsvrc").samples[:FIRST]:
        with torch.no_grad():
            best = model.module(model.prepare(read_image(sample.image, upright=False))[0])[0].topk(5).indices.tolist()
        hits += torch.tensor([best[0] in sample.labels, any(guess in sample.labels for guess in best)])
    top1, top5 = (100 * hits / FIRST).tolist()
    assert top1 >= least_top1
    assert top5 >= least_top5
