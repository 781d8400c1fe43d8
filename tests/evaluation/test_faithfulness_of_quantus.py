"""Insertion and deletion are Quantus' pixel flipping, where that is told the same pixels and the same other picture.

Quantus flips the pixels of a picture one step after the other, and its curve begins after the first step. So the start
is put before it here. Its area has steps of 1, ours has steps of 1 / S.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluations import colours
from hues import hues
from looktwice.attention.api import attend_look
from looktwice.attention.choice import choose_method
from looktwice.attention.look import look_at
from looktwice.datasets import load_dataset, shuffled
from looktwice.evaluation.chunks import EvaluationImage, TargetClass
from looktwice.evaluation.faithfulness import blurred_images, chunk_faithfulness
from looktwice.evaluation.plan import FaithfulnessPlan
from looktwice.images import read_image
from looktwice.metrics.perturbation import pixel_ranks
from looktwice.models import load_model

quantus = pytest.importorskip("quantus")

SHARED = Path(__file__).parents[3] / "shared"


@pytest.fixture(autouse=True)
def _old_name_of_numpy(monkeypatch):
    """Quantus calls NumPy's function by the name that it had before version 2."""
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)


def ours(module, images, targets, methods, plan):
    """For each method the maps (N, H, W), and the insertion and deletion of each."""
    at = [TargetClass(index, 0, int(target), 0, 1.0, 0, 1.0, 0) for index, target in enumerate(targets)]
    decoded = [EvaluationImage(None, index, tuning=False) for index in range(len(images))]
    chosen = [choose_method(name) for name in methods]
    with look_at(module, images, propagate=any(each.options["propagate"] for each in chosen)) as look:
        maps = {
            each.name: attend_look(look, targets, each.method, each.options).maps.detach().numpy() for each in chosen
        }
        found = chunk_faithfulness(look, decoded, at, maps, plan, batch_size=8)
    return {name: (maps[name], [(each.insertion, each.deletion) for each in found[name]]) for name in maps}


class Flipping(quantus.PixelFlipping):
    """Without its check that a step divides the number of pixels: its steps count the numbers of all channels."""

    def custom_preprocess(self, **_):
        return None


def replaced(arr, indices, *, other, **_):
    """Quantus' way to change pixels (N, F): these ones become those of the other picture."""
    changed, rows = arr.copy(), np.arange(len(arr))[:, None]
    changed[rows, indices] = other.reshape(len(arr), -1)[rows, indices]
    return changed


def flipped(module, start, end, ranks, targets, steps):
    """Quantus' areas (N,) for pictures (N, C, H, W) whose pixels become those of others, with the start before."""
    channels, height, width = start.shape[1:]
    metric = {
        "features_in_step": channels * height * width // steps,
        "normalise": False,
        "perturb_func": replaced,
        "perturb_func_kwargs": {"other": end},
        "disable_warnings": True,
    }
    given = {"model": module, "x_batch": start, "y_batch": targets, "a_batch": -ranks[:, None].astype(np.float32)}
    areas, curves = (
        np.array(Flipping(**metric, return_auc_per_sample=whole)(**given, device="cpu", batch_size=64))
        for whole in (True, False)
    )
    assert curves.shape == (len(start), steps)
    with torch.no_grad():
        before = module(torch.tensor(start)).softmax(1).numpy()[np.arange(len(start)), targets]
    return (areas + (before + curves[:, 0]) / 2) / steps


def assert_as_quantus(module, images, targets, methods, plan, *, within):
    pictures, soft = images.numpy(), blurred_images(images, plan.blur).numpy()
    apart = []
    for heats, found in ours(module, images, targets, methods, plan).values():
        ranks = np.stack([pixel_ranks(heat) for heat in heats])
        insertion = flipped(module, soft, pictures, ranks, targets.numpy(), plan.steps)
        deletion = flipped(module, pictures, soft, ranks, targets.numpy(), plan.steps)
        theirs = np.stack([insertion, deletion], 1)
        apart.append(np.abs(theirs - np.array(found)).max())
        assert np.ptp(theirs, axis=0).min() > 0.005  # they tell pictures apart
    assert max(apart) < within, apart
    return max(apart)


@pytest.mark.parametrize(("made", "steps"), [(colours, 8), (colours, 25), (hues, 6)])
def test_small_networks(made, steps):
    model = made()
    side = model.preprocessing.crop
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, side, side, generator=generator) / 4 - 0.6
    for index, image in enumerate(images):
        image[index % 3, 4 : 14 + index, 6 : 16 + index] = 0.9
    targets = torch.arange(6) % 3
    assert_as_quantus(
        model.module.eval(), images, targets, ["gradient", "feedback"], FaithfulnessPlan(steps), within=1e-6
    )


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "ilsvrc-mini").exists(), reason="needs the images beside the repository")
def test_twenty_photographs():
    """The embedded network on real images, with the default steps and blur."""
    model = load_model("efficientnet_lite0", squash=True)
    samples = shuffled(load_dataset(SHARED / "ilsvrc-mini", "ilsvrc").samples, 0)[:20]
    images = torch.cat([model.prepare(read_image(sample.image))[0] for sample in samples])
    targets = torch.tensor([sample.labels[0] for sample in samples])
    assert_as_quantus(model.module, images, targets, ["gradient", "global_feedback"], FaithfulnessPlan(), within=1e-5)
