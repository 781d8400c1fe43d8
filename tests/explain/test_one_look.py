"""All methods and classes of a batch share one plain pass of the network."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from looktwice.attention.api import attend, attend_look
from looktwice.attention.choice import choose_method
from looktwice.attention.look import look_at
from looktwice.attention.methods import METHODS
from looktwice.errors import InputError, ModelError, OptionError
from looktwice.explain import explanation
from looktwice.explain.comparison import Comparison, compare_images
from looktwice.explain.explanation import batches, look_at_batch
from looktwice.explain.images import attend_images
from looktwice.models import IMAGENET, Model
from noise import noise_files

PREPROCESSING = replace(IMAGENET, resize=64, crop=64)


class Counting(nn.Module):
    """Five classes; it counts its forward passes."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 4, 5, stride=4), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))

    @property
    def passes(self):
        return PASSES[self]

    def forward(self, images):
        PASSES[self] += 1
        return self.layers(images)


PASSES = Counter()
"""Forward passes of each network. They are counted outside, since a network's own attributes are put back."""


def network(seed=0):
    """A network whose geometry is measured already, which takes passes of its own."""
    module = Counting(seed).eval()
    for count in (1, 3):  # probes never come in a batch of as many as the images
        for method in ("gradient", "global_feedback"):
            attend(module, torch.rand(count, 3, 64, 64), 0, method=method)
    PASSES[module] = 0
    return Model(f"net{seed}", module, PREPROCESSING, tuple("abcde"), "random")


@pytest.fixture
def photos(tmp_path):
    return noise_files(tmp_path, 3, 90, 70)


@pytest.fixture
def one_batch(monkeypatch):
    """All images in one batch, as on an accelerator."""
    monkeypatch.setattr(explanation, "_batch_size", lambda _: explanation.BATCH)


def own_passes(method, **options):
    """Passes that a method makes after a plain pass of another method, for one class of a batch."""
    model, chosen = network(), choose_method(method).having(options)
    with look_at(model.module, torch.rand(3, 3, 64, 64), propagate=True) as look:
        attend_look(look, torch.zeros(3, dtype=torch.long), chosen.method, chosen.options)
    return model.module.passes - 1


def shared_passes(method, **options):
    """How many of these the plain pass is at the same time, if the method comes first."""
    model = network()
    attend(model.module, torch.rand(3, 3, 64, 64), 0, method=method, **options)
    return 1 + own_passes(method, **options) - model.module.passes


def test_the_plain_pass_is_the_first_one_of_an_ascent():
    assert shared_passes("gradient") == shared_passes("feedback_closed_form") == 0
    assert shared_passes("feedback") == 1
    assert shared_passes("global_feedback") == 2  # alone, its first pass is made in two parts of the batch


def finish(results):
    results = list(results)
    assert [each.error for each in results] == [None] * len(results)
    return results


@pytest.mark.parametrize("top", [1, 3])
@pytest.mark.parametrize("method", ["gradient", "global_feedback", "feedback_closed_form"])
def test_attend_makes_one_plain_pass_for_all_classes(photos, tmp_path, one_batch, method, top):
    model = network()
    assert own_passes("gradient") == 1
    results = finish(attend_images(model, photos, tmp_path, top=top, method=method))
    assert len(results) == 3
    assert model.module.passes == 1 + top * own_passes(method) - shared_passes(method)


def test_on_a_processor_each_image_has_its_own_plain_pass(photos, tmp_path):
    model = network()
    finish(attend_images(model, photos, tmp_path, top=3, method="gradient"))
    assert model.module.passes == 3 * (1 + 3)


@pytest.mark.parametrize("figure", ["methods", "classes", "boxes"])
def test_a_comparison_makes_one_plain_pass_for_all_methods_and_classes(photos, tmp_path, one_batch, figure):
    model, methods = network(), ("gradient", "guided_backprop", "global_feedback")
    finish(compare_images([model], photos, tmp_path, Comparison(figure, methods, targets=(0, None))))
    assert model.module.passes == 1 + 2 * sum(map(own_passes, methods))


def test_each_network_of_a_comparison_makes_one(photos, tmp_path, one_batch):
    models, methods = [network(0), network(1)], ("feedback", "gradient")
    finish(compare_images(models, photos, tmp_path, Comparison("networks", methods)))
    assert models[0].module.passes == 1 + own_passes("feedback") + own_passes("gradient") - shared_passes("feedback")
    assert models[1].module.passes == 1 + own_passes("gradient")


def test_an_animation_makes_one_for_all_steps(photos, tmp_path, one_batch):
    model, steps = network(), METHODS["global_feedback"].options["steps"]
    shared = shared_passes("global_feedback", steps=0)
    finish(compare_images([model], photos, tmp_path, Comparison("gates", ("global_feedback",), (1,), form="gif")))
    assert (
        model.module.passes == 1 + sum(own_passes("global_feedback", steps=step) for step in range(steps + 1)) - shared
    )


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.attribute is None])
def test_what_is_shared_is_what_each_alone_would_be(photos, method):
    """To the last bit, though another method asked for the places of the images to be compared."""
    model = network()
    ((usable, _),) = list(batches([model], photos[:1]))
    images = [image for (image,) in usable]
    chosen = [choose_method(method), choose_method("global_feedback")]
    with look_at_batch(model, images, chosen) as seen:
        shared = [seen.explain(each, torch.tensor([k])) for each in chosen for k in (2, 4)]
        probabilities = seen.probabilities
    alone = [attend(model.module, images[0].pixels, k, method=each.name) for each in chosen for k in (2, 4)]
    for (mine,), other in zip(shared, alone, strict=True):
        assert np.array_equal(mine.heat, other.maps[0].numpy())
        assert mine.scores == other.scores[0].tolist()
        assert mine.probability == float(probabilities[0, mine.class_index])
    with torch.no_grad():
        expected = model.module(images[0].pixels).double().softmax(1)
    torch.testing.assert_close(probabilities, expected)


@pytest.mark.parametrize("name", ["gradient", "global_feedback"])
def test_a_batch_that_does_not_fit_is_split(photos, one_batch, monkeypatch, name):
    model = network()
    ((usable, _),) = list(batches([model], photos))
    images, method = [image for (image,) in usable], choose_method(name)
    with look_at_batch(model, images, [method]) as seen:
        whole = seen.explain(method, torch.tensor([0, 1, 2]))
    real = Counting.forward

    def full(self, given):
        if len(given) > 1 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError
        return real(self, given)

    monkeypatch.setattr(Counting, "forward", full)
    with look_at_batch(model, images, [method]) as seen:
        split = seen.explain(method, torch.tensor([0, 1, 2]))
    for mine, other in zip(split, whole, strict=True):
        np.testing.assert_allclose(mine.heat, other.heat, atol=1e-3)  # rounding moves a cumulative share
    monkeypatch.setattr(Counting, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(ModelError, match="net0 needs more memory than cpu has"), look_at_batch(model, images, [method]):
        pass


def test_a_mistake_is_told_before_the_first_image(photos, tmp_path):
    model = network()
    for choice in ({"options": {"step": 1}}, {"method": "gradeint"}, {"top": 6}):
        with pytest.raises(OptionError):
            next(attend_images(model, photos, tmp_path, **choice))
    assert model.module.passes == 0
    with pytest.raises(InputError, match="target 5 is out of range"):
        next(attend_images(model, photos, tmp_path, target=5))
