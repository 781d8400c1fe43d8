"""The grid pointing game: which images make squares, what a row's share is, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluations import StopError, rows_of, run_on, stop_after
from hues import HUES, PREPROCESSING, SIDE, Hues, OfOneSize, draw, hues
from looktwice.attention.api import attend
from looktwice.attention.choice import choose_method
from looktwice.datasets import Dataset, Sample, load_dataset, shuffled, split_by_hash
from looktwice.errors import DatasetError, ModelError, OptionError, RunError
from looktwice.evaluation import evaluate as evaluation
from looktwice.evaluation.plan import EvaluationPlan, GridPlan
from looktwice.evaluation.processes import Shard
from looktwice.gating.outputs import NetworkOutput
from looktwice.images import read_image
from looktwice.metrics.measures import MEASURES
from looktwice.models import Preprocessing
from looktwice.runs.merge import merge

METHODS = {"gradient": {}, "feedback": {"steps": 1}, "grad_cam": {}}
GAME = {"target": "true", "grid": GridPlan(squares=10), "methods": METHODS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("data") / "hues", 90)


@pytest.fixture(scope="module")
def dataset(folder):
    return load_dataset(folder, "csv")


@pytest.fixture(scope="module")
def played(dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "played"
    status = run_on(dataset, run, model=hues(), tune_on="hash:0.4", **GAME)
    assert status.summary is not None
    return run


def grid_of(run):
    return json.loads((run / "manifest.json").read_text())["run"]["grid"]


def scores_of(run):
    return json.loads((run / "summary.json").read_text())["methods"]


def recognised(dataset, model, *, share=0.4, least=0.7):
    """Slowly: one image after the other, its softmax, the first one of each class."""
    _, report = split_by_hash(shuffled(dataset.samples, 0), share)
    found = {}
    for sample in report:
        image, _ = model.prepare(read_image(sample.image))
        with torch.no_grad():
            scores = model.module(image)[0].double().exp()
        label = sample.labels[0]
        if scores[label] / scores.sum() >= least:
            found.setdefault(label, sample)
    return list(found.items())


def by_hand(model, cells, number, method, *, halved=False, **options):
    """The share of a class's map in its quarter, pixel by pixel."""
    _, height, width = model.preprocessing.input_shape
    square = torch.zeros(1, model.preprocessing.channels, 2 * height, 2 * width)
    for place, (_, sample) in enumerate(cells):
        image, _ = model.prepare(read_image(sample.image))
        top, left = (place // 2) * height, (place % 2) * width
        square[0, :, top : top + height, left : left + width] = image[0]
    if halved:
        blocks = [square[:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)]
        square = sum(blocks) / 4
    chosen = {"values": "maximum", "blur": 0.0} | options
    heat = attend(model.module, square, cells[number][0], method=method, **chosen).maps[0].double().numpy()
    rows, columns = heat.shape
    row, column = divmod(number, 2)
    inside = sum(
        heat[y, x] * overlap(y, row * rows / 2, rows / 2) * overlap(x, column * columns / 2, columns / 2)
        for y in range(rows)
        for x in range(columns)
    )
    return inside / heat.sum()


def overlap(pixel, start, length):
    """Which part of a pixel lies between start and start + length."""
    return max(0.0, min(pixel + 1, start + length) - max(pixel, start))


def assert_shares(dataset, model, run, *, methods=METHODS, halved=False, **choices):
    """Plays a game, and compares the rows of its first square with what is found by hand."""
    run_on(dataset, run, model=model, **GAME | {"methods": methods} | choices)
    samples = {sample.id: sample for sample in dataset.samples}
    assert grid_of(run)["halved"] is halved
    cells = [(cell["label"], samples[cell["sample"]]) for cell in grid_of(run)["squares"][0]]
    checked = 0
    for row in rows_of(run).to_pylist():
        if row["method"] == "full_image":
            assert row["energy_in_box"] == pytest.approx(0.25)
        elif row["order"] == 0:
            number = [label for label, _ in cells].index(row["target"])
            expected = by_hand(model, cells, number, row["method"], halved=halved, **methods[row["method"]])
            assert row["energy_in_box"] == pytest.approx(expected, abs=1e-5)
            checked += 1
    assert checked == 4 * len(methods)


def test_a_row_has_the_share_of_its_map_in_its_own_quarter(dataset, played):
    model = hues()
    cells = recognised(dataset, model)
    assert len(cells) == 8
    assert [[(cell["label"], cell["sample"]) for cell in square] for square in grid_of(played)["squares"]] == [
        [(label, sample.id) for label, sample in cells[start : start + 4]] for start in (0, 4)
    ]
    rows = rows_of(played).to_pylist()
    assert len(rows) == 2 * 4 * 4  # squares, classes, and three methods with the whole image
    shares = []
    for row in rows:
        own = cells[4 * row["order"] : 4 * row["order"] + 4]
        number = [label for label, _ in own].index(row["target"])
        assert row["labels"] == [label for label, _ in own]
        assert row["sample"] == " + ".join(sample.id for _, sample in own)
        assert (row["width"], row["height"], row["right"], row["tuning"]) == (2 * SIDE, 2 * SIDE, True, False)
        if row["method"] == "full_image":
            assert row["energy_in_box"] == 0.25
            continue
        expected = by_hand(model, own, number, row["method"], **METHODS[row["method"]])
        assert row["energy_in_box"] == pytest.approx(expected, abs=1e-5)
        shares.append(expected)
    assert 0 < min(shares) < max(shares) <= 1
    assert len({round(share, 4) for share in shares}) > 12


def test_the_summary_has_the_share_and_no_measure_of_single_images(played):
    rows = rows_of(played).to_pylist()
    for method, scores in scores_of(played).items():
        own = [row["energy_in_box"] for row in rows if row["method"] == method]
        score = scores["grid_pointing_game"]
        assert (score["value"], score["n"]) == (pytest.approx(np.mean(own)), 8)
        assert score["low"] <= score["value"] <= score["high"]
        numbers = {name for name in MEASURES if scores[name]["value"] is not None}
        assert numbers == {"grid_pointing_game", "seconds_per_image"}
        assert "squares" in scores["max_box_acc"]["reason"]
    assert list(scores_of(played)) == [*METHODS, "full_image"]


def test_methods_are_compared_quarter_by_quarter(played):
    paired = json.loads((played / "summary.json").read_text())["paired"]
    table = {
        method: np.array([row["energy_in_box"] for row in rows_of(played).to_pylist() if row["method"] == method])
        for method in METHODS
    }
    (found,) = [each for each in paired if (each["first"], each["second"]) == ("feedback", "gradient")]
    assert set(found["differences"]) == {"grid_pointing_game"}
    expected = (table["feedback"] - table["gradient"]).mean()
    assert found["differences"]["grid_pointing_game"]["value"] == pytest.approx(expected)


def test_a_run_of_images_has_no_share_in_the_own_quarter(dataset, tmp_path):
    boxed = tuple(replace(sample, boxes=(((0.0, 0.0, 9.0, 9.0),),)) for sample in dataset.samples[:8])
    run_on(Dataset(boxed), tmp_path / "run", model=hues(), methods={"gradient": {}})
    scores = scores_of(tmp_path / "run")["gradient"]
    assert scores["energy_in_box"]["value"] is not None
    assert scores["grid_pointing_game"]["value"] is None
    assert "--measure grid" in scores["grid_pointing_game"]["reason"]
    assert "grid" not in json.loads((tmp_path / "run" / "manifest.json").read_text())["run"]


# Stops and processes.


def test_a_stopped_run_goes_on_with_the_same_squares(dataset, played, tmp_path, monkeypatch):
    run = tmp_path / "run"
    choices = {"model": hues(), "tune_on": "hash:0.4", "batch_size": 1, **GAME}
    with pytest.raises(StopError):
        run_on(dataset, run, progress=stop_after(1), **choices)
    monkeypatch.setattr("looktwice.evaluation.grid.choose_squares", None)  # they stand in the manifest
    status = run_on(dataset, run, **choices)
    assert (status.parts, status.missing) == (2, 0)
    alone = tmp_path / "alone"
    monkeypatch.undo()
    run_on(dataset, alone, **choices)
    assert rows_of(run).equals(rows_of(alone))
    assert grid_of(run) == grid_of(alone) == grid_of(played)


def test_several_processes_have_the_same_squares(dataset, tmp_path):
    choices = {"model": hues(), "batch_size": 1, **GAME}
    assert run_on(dataset, tmp_path / "run", shard=Shard(1, 2), **choices).missing == 1
    assert run_on(dataset, tmp_path / "run", shard=Shard(0, 2), **choices).missing == 0
    run_on(dataset, tmp_path / "alone", **choices)
    assert rows_of(tmp_path / "run").equals(rows_of(tmp_path / "alone"))


def test_a_process_measures_the_network_on_the_same_image_whoever_begins(dataset, tmp_path, monkeypatch):
    """How a network's outputs lie is measured on the first image that it gets of a size."""
    seen = []
    real = evaluation.rehearse
    monkeypatch.setattr(evaluation, "rehearse", lambda *given: seen.append(given[2]) or real(*given))
    choices = {"model": hues(), "batch_size": 1, **GAME}
    for rank in (0, 1):
        run_on(dataset, tmp_path / "run", shard=Shard(rank, 2), **choices)
    run_on(dataset, tmp_path / "run", **choices)  # all is there
    assert [image.shape for image in seen] == [(1, 3, 2 * SIDE, 2 * SIDE)] * 2
    first = recognised(dataset, hues(), share=0.0)[:4]
    corner, _ = hues().prepare(read_image(first[0][1].image))
    assert torch.equal(*seen)
    assert torch.equal(seen[0][..., :SIDE, :SIDE], corner)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"grid": GridPlan(squares=1)}, "grid.wanted was 10, is 1"),
        ({"grid": GridPlan(squares=10, min_probability=0.8)}, "grid.min_probability was 0.7, is 0.8"),
        ({"limit": 60}, "images.limit was null, is 60"),
        ({"grid": None}, "grid was"),
    ],
)
def test_another_game_in_the_same_folder_is_refused(dataset, played, change, said):
    with pytest.raises(RunError) as caught:
        run_on(dataset, played, **{"model": hues(), "tune_on": "hash:0.4", **GAME} | change)
    assert said in str(caught.value)
    assert "name another --output" in str(caught.value)


def test_a_method_is_added_by_merging(dataset, played, tmp_path):
    more = GAME | {"methods": {"guided_backprop": {}}}
    run_on(dataset, tmp_path / "more", model=hues(), tune_on="hash:0.4", **more)
    merge([played, tmp_path / "more"], tmp_path / "both")
    assert list(scores_of(tmp_path / "both")) == [*METHODS, "guided_backprop", "full_image"]
    own = scores_of(tmp_path / "more")["guided_backprop"]["grid_pointing_game"]
    assert scores_of(tmp_path / "both")["guided_backprop"]["grid_pointing_game"] == own


# Which images.


def test_as_many_squares_as_are_asked_for_or_there_are_images_for(dataset, tmp_path):
    run_on(dataset, tmp_path / "one", model=hues(), **GAME | {"grid": GridPlan(squares=1)})
    run_on(dataset, tmp_path / "all", model=hues(), **GAME)
    one, every = grid_of(tmp_path / "one"), grid_of(tmp_path / "all")
    assert (len(one["squares"]), len(every["squares"])) == (1, 2)
    assert one["squares"][0] == every["squares"][0]
    assert (one["wanted"], every["wanted"]) == (1, 10)


def test_the_least_probability_counts(dataset, tmp_path):
    run_on(dataset, tmp_path / "run", model=hues(), **GAME | {"grid": GridPlan(min_probability=0.97)})
    strict = [label for label, _ in recognised(dataset, hues(), share=0.0, least=0.97)]
    found = [cell["label"] for square in grid_of(tmp_path / "run")["squares"] for cell in square]
    assert found == strict[: len(strict) // 4 * 4]
    assert [sample.id for _, sample in recognised(dataset, hues(), share=0.0, least=0.97)] != [
        sample.id for _, sample in recognised(dataset, hues(), share=0.0)
    ]


def test_images_of_a_square_share_no_label(dataset, tmp_path):
    """An image that also shows the class of another one would have a map in two quarters."""
    cells = recognised(dataset, hues(), share=0.0)
    first, second = cells[0], cells[1]
    both = replace(second[1], labels=(second[0], first[0]), boxes=((), ()))
    samples = tuple(both if sample.id == both.id else sample for sample in dataset.samples)
    run_on(Dataset(samples), tmp_path / "run", model=hues(), **GAME)
    squares = [[cell["sample"] for cell in square] for square in grid_of(tmp_path / "run")["squares"]]
    assert squares[0][0] == first[1].id
    assert both.id not in squares[0]
    assert both.id in squares[1]  # the first place that it fits


def test_the_label_that_is_recognised_is_the_class_of_an_image_with_several(dataset, tmp_path):
    samples = tuple(
        replace(sample, labels=(sample.labels[0] ^ 1, sample.labels[0]), boxes=((), ())) for sample in dataset.samples
    )
    run_on(Dataset(samples), tmp_path / "run", model=hues(), **GAME)
    model, by_id = hues(), {sample.id: sample for sample in samples}
    cells = [cell for square in grid_of(tmp_path / "run")["squares"] for cell in square]
    assert len(cells) == 8
    for cell in cells:
        image, _ = model.prepare(read_image(by_id[cell["sample"]].image))
        assert cell["label"] == int(model.module(image).argmax())
    assert any(by_id[cell["sample"]].labels.index(cell["label"]) for cell in cells)


def test_unreadable_pictures_are_listed_and_passed_over(folder, dataset, tmp_path):
    broken = recognised(dataset, hues(), share=0.0)[2][1]
    file = tmp_path / "broken.png"
    file.write_bytes(broken.image.read_bytes()[:60])
    samples = tuple(replace(s, image=file) if s.id == broken.id else s for s in dataset.samples)
    status = run_on(Dataset(samples), tmp_path / "run", model=hues(), **GAME)
    assert [line.partition(":")[0] for line in status.problems] == [broken.id]
    assert (tmp_path / "run" / "problems.txt").read_text().startswith(f"{broken.id}: damaged or cut short")
    assert str(tmp_path) not in (tmp_path / "run" / "problems.txt").read_text()
    assert broken.id not in str(grid_of(tmp_path / "run")["squares"])
    with pytest.raises(DatasetError, match="strict: repair it"):
        run_on(Dataset(samples), tmp_path / "strict", model=hues(), strict=True, **GAME)
    assert not (tmp_path / "strict").exists()


def test_a_picture_that_breaks_after_it_was_chosen_costs_its_square(dataset, tmp_path):
    chosen = recognised(dataset, hues(), share=0.0)
    file = tmp_path / "file.png"
    file.write_bytes(chosen[5][1].image.read_bytes())
    samples = tuple(replace(s, image=file) if s.id == chosen[5][1].id else s for s in dataset.samples)
    choices = {"model": hues(), "batch_size": 1, **GAME}
    assert run_on(Dataset(samples), tmp_path / "run", shard=Shard(0, 2), **choices).missing == 1
    file.write_bytes(b"gone")
    status = run_on(Dataset(samples), tmp_path / "run", **choices)
    assert len(status.failures) == 1
    assert chosen[5][1].id in status.failures[0]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["images"], summary["images_failed"]) == (2, 1)
    assert summary["methods"]["gradient"]["grid_pointing_game"]["n"] == 4


# Options.


def test_options_say_how_maps_are_finished(dataset, tmp_path):
    methods = {"gradient": {"values": "cumulative"}, "feedback": {"steps": 1, "blur": 0.1}}
    assert_shares(dataset, hues(), tmp_path / "run", methods=methods, batch_size=1)
    facts = json.loads((tmp_path / "run" / "manifest.json").read_text())["run"]["methods"]
    assert [(own["values"], own["blur"]) for own in facts.values()] == [("cumulative", 0.0), ("maximum", 0.1)]


def test_a_method_with_all_its_options_chosen_keeps_them():
    chosen = choose_method("gradient")
    plan = EvaluationPlan({"gradient": chosen, "own": chosen.method}, target="true", grid=GridPlan())
    assert [(own.options["values"], own.options["blur"]) for own in plan.chosen] == [
        ("cumulative", 0.02),
        ("maximum", 0.0),
    ]


@pytest.mark.parametrize(
    "model",
    [
        hues(preprocessing=replace(PREPROCESSING, squash=False)),
        hues(preprocessing=Preprocessing((28, 40), (20, 36), (0.5,) * 3, (0.5,) * 3)),
        hues(output=NetworkOutput("multilabel_logits")),
    ],
    ids=["a crop of the centre", "an input that is no square", "a probability for each label"],
)
def test_other_inputs_and_outputs(dataset, tmp_path, model):
    assert_shares(dataset, model, tmp_path / "run", grid=GridPlan(min_probability=0.6))


def test_a_network_with_one_channel(dataset, tmp_path):
    class Gray(Hues):
        def forward(self, images):
            levels = 2 * torch.tensor(HUES @ np.array([0.299, 0.587, 0.114]), dtype=torch.float32) - 1
            near = self.relu(1.5 - 8 * (images - levels[:, None, None]).abs())
            return self.head(self.last(self.mix(near)).mean((2, 3)))

    model = hues(Gray(), preprocessing=Preprocessing(26, SIDE, (0.5,), (0.5,), squash=True))
    assert_shares(dataset, model, tmp_path / "run")


# Networks of one size.

SIZE_ERRORS = [
    ValueError("Input image size (48*48) doesn't match model (24*24)."),
    AssertionError("Wrong image height! Expected 24 but got 48!"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x128 and 32x8)"),
    None,
]


@pytest.mark.parametrize("error", SIZE_ERRORS, ids=str)
def test_a_network_of_one_size_gets_squares_of_its_own_size(dataset, tmp_path, error):
    run = tmp_path / "run"
    assert_shares(dataset, hues(OfOneSize(error)), run, halved=True)
    assert {(row["width"], row["height"]) for row in rows_of(run).to_pylist()} == {(SIDE, SIDE)}


def test_half_of_an_odd_size_cuts_pixels(dataset, tmp_path):
    odd = Preprocessing(27, 25, (0.5,) * 3, (0.5,) * 3, squash=True)
    model = hues(OfOneSize(SIZE_ERRORS[0], side=25), preprocessing=odd)
    assert_shares(dataset, model, tmp_path / "run", halved=True)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("size"),
        RuntimeError("no such luck"),
        ValueError("the batch was resized by hand"),
        torch.OutOfMemoryError("Tried to allocate 9 GiB; see max_split_size_mb"),
    ],
    ids=str,
)
def test_a_network_that_fails_on_a_square_for_another_reason_is_refused(dataset, tmp_path, error):
    with pytest.raises(ModelError, match=r"fails on a square of 48×48 pixels, twice its input") as caught:
        run_on(dataset, tmp_path / "run", model=hues(OfOneSize(error)), **GAME)
    assert "\n" not in str(caught.value)
    assert type(error).__name__ in str(caught.value)
    assert not (tmp_path / "run").exists()


# What is refused.


def test_too_few_recognised_images_are_counted(dataset, tmp_path):
    with pytest.raises(RunError) as caught:
        run_on(dataset, tmp_path / "run", model=hues(), limit=4, **GAME)
    assert "of 4 images the network recognises" in str(caught.value)
    assert "take more images, or a smaller min_probability" in str(caught.value)
    with pytest.raises(RunError, match=r"of 90 images the network recognises 0 with a probability of 0\.7 or more"):
        run_on(dataset, tmp_path / "run", model=hues(Hues(gain=0.1)), **GAME)
    assert not (tmp_path / "run").exists()


def test_fewer_than_four_classes(tmp_path):
    three = load_dataset(draw(tmp_path / "three", 30, classes=3), "csv")
    with pytest.raises(RunError, match=r"and these show 3 different classes; a square needs 4 images"):
        run_on(three, tmp_path / "run", model=hues(), **GAME)
    module = torch.nn.Sequential(Hues(), torch.nn.Linear(8, 3))
    with pytest.raises(OptionError, match=r"hues has 3 classes, and a square needs images of 4 different ones"):
        run_on(three, tmp_path / "run", model=hues(module, classes=("a", "b", "c")), **GAME)


def test_a_label_that_the_network_does_not_have(dataset, tmp_path):
    odd = Dataset((*dataset.samples, Sample("odd", tmp_path / "odd", (8,), ((),))))
    with pytest.raises(DatasetError, match=r"odd is of class 8"):
        run_on(odd, tmp_path / "run", model=hues(), **GAME)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"target": "predicted"}, "each of the four images has a map of its own class"),
        ({"tune_on": "runs/other"}, "the grid pointing game has no threshold"),
        ({"save_npy": True}, "a grid's maps are of squares"),
    ],
)
def test_choices_that_a_grid_has_no_use_for(choices, said):
    with pytest.raises(OptionError, match=said):
        EvaluationPlan({"gradient": {}}, **{"target": "true", "grid": GridPlan()} | choices)


@pytest.mark.parametrize("numbers", [{"squares": 0}, {"min_probability": 0.0}, {"min_probability": 1.1}])
def test_numbers_outside_their_range(numbers):
    with pytest.raises(OptionError, match="needed"):
        GridPlan(**numbers)


@pytest.mark.parametrize("numbers", [{"squares": "3"}, {"squares": 2.5}, {"squares": None}, {"min_probability": "x"}])
def test_what_is_no_number(numbers):
    with pytest.raises(OptionError, match="needed"):
        GridPlan(**numbers)
