"""What stands in each cell of a comparison, against the same seen one by one."""

import numpy as np
import pytest
import torch
from torch import nn

from looktwice.attention.api import attend
from looktwice.attention.methods import METHODS
from looktwice.errors import OptionError
from looktwice.explain import comparison
from looktwice.explain.comparison import Comparison, compare_images
from looktwice.explain.explanation import gate_openness
from looktwice.figures.overlay import heat_alone, overlay, scaled
from looktwice.gating.calls import ActivationCall
from looktwice.images import read_image
from looktwice.localization import BoxRule, locate
from looktwice.models import IMAGENET, Model
from noise import noise_files

STEPS = METHODS["global_feedback"].options["steps"]


def network(seed=0, classes=5):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 4, 5, stride=8), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)).eval()
    module[-1].weight.data *= 30  # so that a step shows in the score's first decimal
    return Model(f"net{seed}", module, IMAGENET, tuple(f"class {index}" for index in range(classes)), "random")


@pytest.fixture
def photos(tmp_path):
    return noise_files(tmp_path, 5, 60, 40)


@pytest.fixture
def sheets(monkeypatch, tmp_path):
    """A call that compares and gives the sheets that would be drawn, file by file."""

    def compare(models, images, wanted):
        files = []
        monkeypatch.setattr(comparison, "_encoder", lambda _: lambda frames: files.append(frames) or b"")
        outcomes = list(compare_images(models, images, tmp_path, wanted))
        assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
        return files

    return compare


def thumbnail(photo):
    return scaled(scaled(read_image(photo)), comparison.THUMBNAIL, smallest=comparison.THUMBNAIL, strip=0)


def mapped(model, photo, k, method, **options):
    """A map over its picture, as it is made for one image alone."""
    pixels, window = model.prepare(read_image(photo))
    heat = attend(model.module, pixels, k, method=method, **options).maps[0].numpy()
    return overlay(thumbnail(photo), heat, window)


def predicted(model, photo):
    with torch.no_grad():
        return model.module(model.prepare(read_image(photo))[0]).softmax(1)[0]


def same(*pictures):
    first, *others = [picture.tobytes() for picture in pictures]
    return all(other == first for other in others)


def test_methods_stand_side_by_side_for_one_class(photos, sheets):
    model = network()
    ((sheet,),) = sheets([model], photos[:2], Comparison("methods", ("gradient", "feedback")))
    assert sheet.columns == ["input", "Gradient", "Local feedback"]
    for photo, row in zip(photos[:2], sheet.rows, strict=True):
        probabilities = predicted(model, photo)
        k = int(probabilities.argmax())
        assert row.title == f"{photo.stem}\nclass {k} · {probabilities[k]:.1%}"
        assert same(row.cells[0].picture, thumbnail(photo))
        for cell, method in zip(row.cells[1:], ("gradient", "feedback"), strict=True):
            assert same(cell.picture, mapped(model, photo, k, method))


def test_classes_stand_side_by_side_for_each_method(photos, sheets):
    model, photo = network(), photos[0]
    ((sheet,),) = sheets([model], [photo], Comparison("classes", ("gradient", "global_feedback"), (3, None, 1)))
    assert sheet.columns == ["input", "class 3", "prediction", "class 1"]
    assert [row.title for row in sheet.rows] == ["photo0\nGradient", "photo0\nGlobal feedback"]
    probabilities = predicted(model, photo)
    best = int(probabilities.argmax())
    for row, method in zip(sheet.rows, ("gradient", "global_feedback"), strict=True):
        for cell, k in zip(row.cells[1:], (3, best, 1), strict=True):
            assert same(cell.picture, mapped(model, photo, k, method))
    notes = [f"{probabilities[3]:.1%}", f"class {best} · {probabilities[best]:.1%}", f"{probabilities[1]:.1%}"]
    assert [cell.note for cell in sheet.rows[0].cells] == ["", *notes]


def test_without_names_they_are_the_most_probable_ones(photos, sheets):
    for classes, count in [(5, 3), (2, 2)]:
        model = network(classes=classes)
        ((sheet,),) = sheets([model], photos[:1], Comparison("classes", ("gradient",)))
        assert sheet.columns == ["input", *["top 1", "top 2", "top 3"][:count]]
        ranked = predicted(model, photos[0]).argsort(descending=True).tolist()[:count]
        assert [cell.note.split(" · ")[0] for cell in sheet.rows[0].cells[1:]] == [f"class {k}" for k in ranked]


def test_other_networks_show_the_last_method_for_the_first_one_s_class(photos, sheets):
    models = [network(0), network(1), network(2)]
    ((sheet,),) = sheets(models, photos[:1], Comparison("networks", ("feedback", "gradient")))
    assert sheet.columns == ["input", "Local feedback\nnet0", "Gradient\nnet0", "Gradient\nnet1", "Gradient\nnet2"]
    (row,) = sheet.rows
    k = int(predicted(models[0], photos[0]).argmax())
    assert row.title == f"photo0\nclass {k}"
    shown = [(models[0], "feedback"), *((model, "gradient") for model in models)]
    for cell, (model, method) in zip(row.cells[1:], shown, strict=True):
        assert same(cell.picture, mapped(model, photos[0], k, method))
        assert cell.note == f"{predicted(model, photos[0])[k]:.1%}"


def test_boxes_are_those_of_both_rules(photos, sheets):
    model, photo = network(), photos[0]
    ((sheet,),) = sheets([model], [photo], Comparison("boxes", ("gradient",), (2,)))
    pixels, window = model.prepare(read_image(photo))
    heat = attend(model.module, pixels, 2, method="gradient").maps[0].numpy()
    plain, alone, energy, contours = sheet.rows[0].cells
    assert same(plain.picture, energy.picture, contours.picture, thumbnail(photo))
    assert same(alone.picture, heat_alone(heat, plain.picture.size, window))
    scale = comparison.THUMBNAIL / 60
    for cell, rule in [(energy, BoxRule("energy", 0.95)), (contours, BoxRule("contour"))]:
        wanted = [tuple(scale * side for side in box.corners) for box in locate(heat, window, rule)]
        assert wanted
        assert [*cell.boxes] == [pytest.approx(box) for box in wanted]


@pytest.mark.parametrize("rule", [None, BoxRule(), BoxRule("contour", 0.4), BoxRule("energy", 0.9)])
@pytest.mark.parametrize(("figure", "usual"), [("methods", 0), ("classes", 0), ("gates", 1)])
def test_maps_have_the_boxes_of_the_rule_asked_for(photos, sheets, figure, usual, rule):
    model, photo = network(), photos[0]
    ((sheet,),) = sheets([model], [photo], Comparison(figure, ("global_feedback",), (2,), rule=rule))
    pixels, window = model.prepare(read_image(photo))
    extent = attend(model.module, pixels, 2).extents[0].numpy()
    drawn = rule or (BoxRule() if usual else None)
    wanted = [] if drawn is None else locate(extent, window, drawn)
    scale = comparison.THUMBNAIL / 60
    boxes = [pytest.approx([scale * side for side in box.corners]) for box in wanted]
    assert [[*box] for box in sheet.rows[0].cells[1].boxes] == boxes
    assert sheet.rows[0].cells[0].boxes == ()


def test_an_animation_shows_every_step_from_open_gates_to_the_result(photos, sheets):
    model, photo = network(), photos[0]
    (frames,) = sheets([model], [photo], Comparison("gates", ("global_feedback",), (1,), form="gif"))
    assert [frame.heading for frame in frames] == [f"step {step} of {STEPS}" for step in range(STEPS + 1)]
    pixels, _ = model.prepare(read_image(photo))
    whole = attend(model.module, pixels, 1)
    for step, frame in enumerate(frames):
        _, seen, gates = frame.rows[0].cells
        assert same(seen.picture, mapped(model, photo, 1, "global_feedback", steps=step))
        assert seen.note.startswith(f"score {whole.scores[0, step]:.1f} · {len(seen.boxes)} box")
        by_layer = [float(z.mean()) for z in attend(model.module, pixels, 1, steps=step).gates]
        share, _, rest = gates.note.partition("%")
        assert rest == " open"
        # Spread to the map's size a layer's border counts for a little more than in its own mean.
        assert float(share) == pytest.approx(100 * np.mean(by_layer), abs=3)
    assert frames[0].rows[0].cells[2].note == "100.0% open"
    assert len({frame.rows[0].cells[2].picture.tobytes() for frame in frames}) > 2


def test_a_method_without_steps_stands_still_beside_one_with_them(photos, sheets):
    wanted = Comparison("methods", ("gradient", "feedback"), form="mp4")
    (frames,) = sheets([network()], photos[:1], wanted)
    _, still, moving = zip(*(frame.rows[0].cells for frame in frames), strict=True)
    assert len(frames) == METHODS["feedback"].options["steps"] + 1
    assert same(*(cell.picture for cell in still))
    assert len({cell.note for cell in moving}) > 1


def test_a_page_of_an_animation_fits_a_screen(photos, sheets):
    files = sheets([network()], photos, Comparison("gates", ("feedback",), form="gif"))
    assert [[len(frame.rows) for frame in frames] for frames in files] == [[4] * (STEPS + 1), [1] * (STEPS + 1)]


def test_pictures_for_print_are_finer(photos, sheets):
    ((sheet,),) = sheets([network()], photos[:1], Comparison("methods", ("gradient",), form="pdf"))
    assert {cell.picture.width for cell in sheet.rows[0].cells} == {540}


def test_gates_behind_a_linear_layer_have_no_place(photos, tmp_path):
    torch.manual_seed(0)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))
    model = Model("flat", pooled.eval(), IMAGENET, tuple("abcde"), "random")
    wanted = Comparison("gates", ("feedback_closed_form",))
    (outcome,) = compare_images([model], photos[:1], tmp_path, wanted)
    assert outcome.files == ()
    assert "photo0.png: none of its gates has a place in the image" in str(outcome.error)


def test_openness_is_the_mean_over_channels_then_layers():
    fine = torch.tensor([[[[1.0, 0.0]], [[0.5, 0.5]]]])  # (1, 2, 1, 2): over its channels 0.75 and 0.25
    coarse = torch.tensor([[[[0.25]]]])
    flat = torch.zeros(1, 7)
    layers = [ActivationCall(0, (2, 1, 2)), ActivationCall(1, (1, 1, 1)), ActivationCall(2, (7,))]
    np.testing.assert_allclose(gate_openness(layers, [fine, coarse, flat], (1, 2)), [[[0.5, 0.25]]])
    assert gate_openness(layers[2:], [flat], (1, 2)) is None


@pytest.mark.parametrize(
    ("choice", "part"),
    [
        (("rows", ("gradient",)), "rows"),
        (("methods", ("gradiant",)), "gradiant"),
        (("methods", ("gradient",), (), "webp"), "webp"),
        (("methods", ("gradient", "integrated_gradients"), (), "gif"), "no steps"),
        (("gates", ("gradient", "feedback")), "gradient: no gates"),
        (("boxes", ("gradient",), (), "png", BoxRule()), "energy and contour boxes"),
    ],
)
def test_what_cannot_be_compared_is_refused(choice, part):
    with pytest.raises(OptionError, match=part):
        Comparison(*choice)
