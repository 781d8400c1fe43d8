"""Insertion and deletion of a run: each number against a slow derivation, and what is left out or refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from evaluations import METHODS, Colours, StopError, assert_same, colours, run_on, stop_after
from looktwice.attention.api import attend
from looktwice.attention.look import look_at
from looktwice.datasets import Dataset, load_dataset
from looktwice.errors import OptionError, RunError
from looktwice.evaluation import faithfulness as wing
from looktwice.evaluation.chunks import EvaluationImage, TargetClass
from looktwice.evaluation.faithfulness import blurred_images, chunk_faithfulness
from looktwice.evaluation.plan import EvaluationPlan, FaithfulnessPlan, GridPlan
from looktwice.evaluation.processes import Shard
from looktwice.gating.outputs import NetworkOutput
from looktwice.images import read_image
from looktwice.metrics.perturbation import pixel_ranks
from looktwice.models import Preprocessing
from looktwice.runs.columns import COLUMNS, columns_of
from looktwice.runs.folder import read_manifest, read_rows
from looktwice.runs.merge import merge

STEPS = 7  # 1,600 pixels are no multiple of it
PLAN = FaithfulnessPlan(steps=STEPS)
NUMBERS = ("insertion", "deletion")


def rows_with(run):
    manifest = read_manifest(run)
    return read_rows(run, manifest.run.parts, list(columns_of(manifest.run))).to_pylist()


def scores_of(run, method):
    return json.loads((run / "summary.json").read_text())["methods"][method]


@pytest.fixture(scope="module")
def measured(dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "measured"
    run_on(dataset, run, target="true", faithfulness=PLAN)
    return run


# Slowly: one picture after the other, pixel after pixel.


def slow_blur(image, share):
    """(C, H, W): each pixel's mean of its neighbours with the weights of a Gaussian, as far as there are neighbours."""
    _, height, width = image.shape
    sigma = share * min(height, width)
    reach = max(1, round(3 * sigma))

    def weights(size):
        apart = np.subtract.outer(np.arange(size), np.arange(size))
        return np.exp(-0.5 * (apart / sigma) ** 2) * (np.abs(apart) <= reach)

    down, across = weights(height), weights(width)
    summed = np.einsum("yv,xw,cvw->cyx", down, across, image)
    return summed / np.outer(down.sum(1), across.sum(1))


def slow_areas(model, image, heat, target, *, steps=STEPS, share=0.05):
    picture = image[0].double().numpy()
    soft = slow_blur(picture, share)
    height, width = heat.shape
    even = pixel_ranks(np.zeros((height, width)))
    places = [(y, x) for y in range(height) for x in range(width)]
    places.sort(key=lambda place: (-float(heat[place]), int(even[place])))

    def probability(pixels):
        with torch.no_grad():
            scores = model.module(torch.tensor(pixels, dtype=torch.float32)[None])[0].double()
        return float((scores - scores.max()).exp()[target] / (scores - scores.max()).exp().sum())

    def area(start, end):
        shown, curve, ends = start.copy(), [], []
        for step in range(steps + 1):
            ends.append(math.floor(step * len(places) / steps + 0.5))
            for y, x in places[ends[-2] if step else 0 : ends[-1]]:
                shown[:, y, x] = end[:, y, x]
            curve.append(probability(shown))
        parts = [(ends[i + 1] - ends[i]) * (curve[i] + curve[i + 1]) / 2 for i in range(steps)]
        return sum(parts) / len(places)

    return area(soft, picture), area(picture, soft)


def slow_center(height, width):
    offset = [np.exp(-0.5 * (((np.arange(side) + 0.5) / side - 0.5) / 0.2) ** 2) for side in (height, width)]
    return np.outer(*offset).astype(np.float32)


def test_each_number_is_that_of_the_slow_derivation(dataset, measured):
    model, samples = colours(), {sample.id: sample for sample in dataset.samples}
    rows = [row for row in rows_with(measured) if row["order"] < 6]
    assert {row["method"] for row in rows} == {*METHODS, "center_box", "full_image"}
    found = []
    for row in rows:
        image, _ = model.prepare(read_image(samples[row["sample"]].image))
        if row["method"] in METHODS:
            options = METHODS[row["method"]]
            heat = attend(model.module, image, row["target"], method=row["method"], **options).maps[0].numpy()
        else:
            heat = slow_center(40, 40) if row["method"] == "center_box" else np.zeros((40, 40))
        expected = slow_areas(model, image, heat, row["target"])
        assert [row[name] for name in NUMBERS] == pytest.approx(expected, abs=2e-4)
        found.append(expected)
    assert np.ptp(found, axis=0).min() > 0.2  # they tell maps apart


def test_the_summary_averages_them_with_intervals_and_differences(measured):
    rows = rows_with(measured)
    for method in (*METHODS, "center_box", "full_image"):
        for name in NUMBERS:
            own = [row[name] for row in rows if row["method"] == method]
            score = scores_of(measured, method)[f"{name}_auc"]
            assert (score["value"], score["n"]) == (pytest.approx(np.mean(own)), len(own))
            assert score["low"] < score["value"] < score["high"]
    summary = json.loads((measured / "summary.json").read_text())
    (pair,) = [each for each in summary["paired"] if (each["first"], each["second"]) == ("feedback", "gradient")]
    apart = [scores_of(measured, method)["insertion_auc"]["value"] for method in ("feedback", "gradient")]
    assert pair["differences"]["insertion_auc"]["value"] == pytest.approx(apart[0] - apart[1], abs=1e-8)


def test_maps_of_the_object_are_better_than_the_order_at_random(measured):
    chance = scores_of(measured, "full_image")
    for method in METHODS:
        assert scores_of(measured, method)["insertion_auc"]["value"] > chance["insertion_auc"]["value"]


# By hand.


class Sum(nn.Module):
    """The probability of class 0 is the sum of the picture; of class 1, what is left to 1."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, images):
        total = self.relu(images).sum((1, 2, 3))
        return torch.stack([total, 1 - total], 1)


def of_picture(module, picture, heat, target=0, *, steps=4, batch_size=3, kind="probabilities", dtype=torch.float32):
    """The numbers of one map of one picture (C, H, W)."""
    image = torch.tensor(picture, dtype=dtype)[None]
    images = (EvaluationImage(None, 0, tuning=False),)
    targets = (TargetClass(0, 0, target, 0, 1.0, 0, 1.0, 0),)
    maps = {"map": np.asarray(heat, dtype=np.float32)[None]}
    with look_at(module, image, propagate=False, output=NetworkOutput(kind)) as look:
        return chunk_faithfulness(look, images, targets, maps, FaithfulnessPlan(steps), batch_size=batch_size)


def test_a_network_that_adds_up_its_pixels_by_hand(monkeypatch):
    monkeypatch.setattr(wing, "blurred_images", lambda images, blur: torch.zeros_like(images))
    picture = [[[0.1, 0.2], [0.3, 0.4]]]
    found = of_picture(Sum(), picture, [[1, 2], [3, 4]])["map"][0]
    assert found.insertion == pytest.approx((0.4 + 0.7 + 0.9 + 1.0 / 2) / 4)
    assert found.deletion == pytest.approx((1.0 / 2 + 0.6 + 0.3 + 0.1) / 4)
    worst = of_picture(Sum(), picture, [[4, 3], [2, 1]])["map"][0]
    assert worst.insertion == pytest.approx((0.1 + 0.3 + 0.6 + 1.0 / 2) / 4)
    assert worst.deletion == pytest.approx((1.0 / 2 + 0.9 + 0.7 + 0.4) / 4)
    other = of_picture(Sum(), picture, [[1, 2], [3, 4]], target=1)["map"][0]
    assert other.insertion == pytest.approx(1 - found.insertion)
    coarse = of_picture(Sum(), picture, [[1, 2], [3, 4]], steps=2)["map"][0]
    assert coarse.deletion == pytest.approx((1.0 / 2 + 0.3) / 2)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_size_of_a_batch_does_not_matter_here(batch_size):
    rng = np.random.default_rng(2)
    picture, heat = rng.random((3, 6, 5)) / 90, rng.random((6, 5))
    found = of_picture(Sum(), picture, heat, steps=9, batch_size=batch_size)["map"][0]
    soft, counts = slow_blur(picture, 0.05), [math.floor(step * 30 / 9 + 0.5) for step in range(10)]
    gains = (picture - soft).sum(0).ravel()[np.argsort(-heat.ravel())]
    curve = [soft.sum() + gains[:count].sum() for count in counts]
    expected = (np.diff(counts) * (np.array(curve[1:]) + curve[:-1])).sum() / 60
    assert found.insertion == pytest.approx(expected, abs=1e-6)
    assert found.deletion == pytest.approx(picture.sum() + soft.sum() - expected, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_map_that_is_the_same_everywhere_ranks_pixels_at_random(value):
    rng = np.random.default_rng(3)
    found = of_picture(Sum(), rng.random((3, 8, 8)) / 200, np.full((8, 8), value))
    assert (found["map"][0].insertion, found["map"][0].deletion) == (
        found["full_image"][0].insertion,
        found["full_image"][0].deletion,
    )


def test_a_blurred_image_of_one_colour_stays_as_it_is():
    image = torch.tensor([0.5, -1.0, 2.0])[None, :, None, None].expand(1, 3, 20, 30)
    assert torch.allclose(blurred_images(image, 0.1), image, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_images_are_blurred_in_each_precision(dtype):
    image = torch.rand(2, 3, 12, 18, generator=torch.Generator().manual_seed(0)).to(dtype)
    soft = blurred_images(image, 0.1)
    assert soft.dtype == dtype
    expected = np.stack([slow_blur(each.double().numpy(), 0.1) for each in image])
    assert np.abs(soft.double().numpy() - expected).max() < 4 * torch.finfo(dtype).eps + 1e-9


@pytest.mark.parametrize(
    ("kind", "scores", "of_score"),
    [
        ("logits", 2, lambda s: 1 / (1 + np.exp(1 - 2 * s))),  # the softmax of s and 1 - s
        ("multilabel_logits", 2, lambda s: 1 / (1 + np.exp(-s))),
        ("probabilities", 2, lambda s: s),
        ("log_probabilities", 2, np.exp),
        ("sigmoids", 2, lambda s: s),
        ("logit", 1, lambda s: 1 / (1 + np.exp(-s))),
    ],
)
def test_the_probability_is_the_class_own_of_each_kind_of_output(monkeypatch, kind, scores, of_score):
    monkeypatch.setattr(wing, "blurred_images", lambda images, blur: torch.zeros_like(images))

    class Scores(Sum):
        def forward(self, images):
            found = super().forward(images)[:, :scores]
            return found - 1.5 if kind == "log_probabilities" else found

    found = of_picture(Scores(), [[[0.1, 0.2], [0.3, 0.4]]], [[1, 2], [3, 4]], kind=kind)["map"][0]
    shift = 1.5 if kind == "log_probabilities" else 0.0
    curve = [of_score(s - shift) for s in (0.0, 0.4, 0.7, 0.9, 1.0)]
    assert found.insertion == pytest.approx((sum(curve[1:4]) + (curve[0] + curve[4]) / 2) / 4)


# What is counted, and what is left out.


def test_each_map_costs_two_passes_a_step_and_no_pass_has_more_pictures_than_a_batch(dataset, tmp_path):
    seen = []

    class Counting(Colours):
        def forward(self, images):
            seen.append((len(images), torch.is_grad_enabled()))
            return super().forward(images)

    def pictures(run, **choices):
        seen.clear()
        model = replace(colours(), module=Counting().eval())
        run_on(dataset, tmp_path / run, model=model, limit=4, methods={"gradient": {"blur": 0.03}}, **choices)
        assert max(size for size, _ in seen) <= 4
        return sum(size for size, with_gradient in seen if not with_gradient)

    plain, more = pictures("plain"), pictures("more", faithfulness=PLAN)
    maps = 4 * 3  # four images; the gradient and both baselines
    assert more - plain == maps * 2 * (STEPS - 1) + 4  # each image is seen blurred once


def test_maps_are_the_same_and_so_are_all_other_columns(dataset, measured, tmp_path):
    run_on(dataset, tmp_path / "plain", target="true")
    kept = [name for name in COLUMNS if not name.endswith("seconds") and name != "seconds_method"]
    parts = read_manifest(measured).run.parts
    assert read_rows(measured, parts, kept).equals(read_rows(tmp_path / "plain", parts, kept))


def test_images_on_which_thresholds_are_chosen_have_no_numbers(dataset, tmp_path):
    run_on(dataset, tmp_path / "run", faithfulness=PLAN, tune_on="hash:0.4")
    rows = rows_with(tmp_path / "run")
    assert {row["tuning"] for row in rows} == {True, False}
    assert all((row["insertion"] is None) == (row["deletion"] is None) == row["tuning"] for row in rows)
    assert scores_of(tmp_path / "run", "gradient")["insertion_auc"]["n"] == len(
        {row["sample"] for row in rows if not row["tuning"]}
    )


@pytest.mark.parametrize("target", ["predicted", "true", "top5"])
def test_data_without_boxes_has_the_numbers_and_no_measure_of_boxes(dataset, tmp_path, target):
    bare = Dataset(tuple(replace(each, boxes=((),) * len(each.labels)) for each in dataset.samples[:9]))
    run_on(bare, tmp_path / "run", target=target, faithfulness=PLAN)
    assert all(row["insertion"] is not None and row["judged"] is None for row in rows_with(tmp_path / "run"))
    scores = scores_of(tmp_path / "run", "feedback")
    known = {name for name, score in scores.items() if isinstance(score, dict) and score["value"] is not None}
    assert known == {"top1_class_error", "top5_class_error", "insertion_auc", "deletion_auc", "seconds_per_image"}


def test_a_class_without_a_box_beside_classes_with_one(dataset, tmp_path):
    """Every map has its numbers, whichever boxes the image has."""
    mixed = [replace(each, boxes=((),) * len(each.labels)) if i % 2 else each for i, each in enumerate(dataset.samples)]
    run_on(Dataset(tuple(mixed)), tmp_path / "run", target="true", faithfulness=PLAN)
    rows = rows_with(tmp_path / "run")
    assert {row["judged"] is None for row in rows} == {True, False}
    assert all(0 <= row["insertion"] <= 1 and 0 <= row["deletion"] <= 1 for row in rows)


def test_an_image_that_cannot_be_read_has_no_numbers_and_changes_those_of_no_other(dataset, measured, tmp_path):
    spoilt = tmp_path / "spoilt.png"
    spoilt.write_bytes(b"no picture")
    broken = dataset.samples[5]
    samples = tuple(replace(each, image=spoilt) if each is broken else each for each in dataset.samples)
    run_on(Dataset(samples), tmp_path / "run", target="true", faithfulness=PLAN)
    before = {(row["sample"], row["method"], row["target"]): row for row in rows_with(measured)}
    for row in rows_with(tmp_path / "run"):
        numbers = [row[name] for name in NUMBERS]
        if row["sample"] == broken.id:
            assert numbers == [None, None]
        else:
            assert numbers == [before[row["sample"], row["method"], row["target"]][name] for name in NUMBERS]
    assert scores_of(tmp_path / "run", "gradient")["insertion_auc"]["value"] is not None


class Unsure(Colours):
    """Its scores are NaN where a picture has hardly any contrast."""

    def forward(self, images):
        scores = super().forward(images)
        spread = images.amax((1, 2, 3)) - images.amin((1, 2, 3))
        return torch.where(spread[:, None] < 1.5, torch.nan, scores)


def test_a_probability_that_is_not_finite_is_an_error_of_the_row(dataset, tmp_path):
    model = replace(colours(), module=Unsure().eval())
    status = run_on(dataset, tmp_path / "run", model=model, limit=8, faithfulness=FaithfulnessPlan(STEPS, blur=0.5))
    rows = rows_with(tmp_path / "run")
    failed = [row for row in rows if row["error"] is not None]
    assert failed
    assert all(row["insertion"] is None and row["iou"] is None for row in failed)
    assert all("NaN or infinite where pixels of the picture are blurred" in row["error"] for row in failed)
    assert len(status.failures) == len({row["sample"] for row in failed})


def test_a_map_of_another_size_is_resized_to_the_input():
    picture = np.random.default_rng(4).random((3, 8, 8)) / 200
    small = np.array([[4.0, 3.0], [2.0, 1.0]])
    wide = torch.nn.functional.interpolate(torch.tensor(small)[None, None], (8, 8), mode="bilinear")[0, 0]
    found, expected = (of_picture(Sum(), picture, heat)["map"][0] for heat in (small, wide.numpy()))
    assert (found.insertion, found.deletion) == (expected.insertion, expected.deletion)


def test_an_input_that_is_not_square(tmp_path, folder):
    model = replace(colours(), preprocessing=Preprocessing((30, 50), (24, 44), (0.5,) * 3, (0.5,) * 3))
    dataset = load_dataset(folder, "csv")
    run_on(dataset, tmp_path / "run", model=model, limit=3, faithfulness=PLAN, target="true")
    samples = {sample.id: sample for sample in dataset.samples}
    for row in rows_with(tmp_path / "run"):
        if row["method"] == "center_box":
            image, _ = model.prepare(read_image(samples[row["sample"]].image))
            expected = slow_areas(model, image, slow_center(24, 44), row["target"])
            assert [row[name] for name in NUMBERS] == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_precision(dataset, tmp_path, dtype):
    model = replace(colours(), module=Colours().eval().to(dtype))
    run_on(dataset, tmp_path / "run", model=model, limit=4, faithfulness=PLAN, methods={"gradient": {"blur": 0.03}})
    run_on(dataset, tmp_path / "single", limit=4, faithfulness=PLAN, methods={"gradient": {"blur": 0.03}})
    for row, other in zip(*(rows_with(tmp_path / name) for name in ("run", "single")), strict=True):
        assert row["error"] is None
        assert abs(row["insertion"] - other["insertion"]) < 0.15


# Stops, processes, and other runs.


def assert_numbers(run, other):
    assert [{name: row[name] for name in NUMBERS} for row in rows_with(run)] == [
        {name: row[name] for name in NUMBERS} for row in rows_with(other)
    ]
    assert_same(run, other)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stopped_run_goes_on(dataset, measured, tmp_path, workers):
    with pytest.raises(StopError):
        run_on(dataset, tmp_path / "run", target="true", faithfulness=PLAN, workers=workers, progress=stop_after(8))
    made = {part: part.stat().st_mtime_ns for part in (tmp_path / "run" / "rows").iterdir()}
    assert made
    run_on(dataset, tmp_path / "run", target="true", faithfulness=PLAN, workers=workers)
    assert {part: part.stat().st_mtime_ns for part in made} == made
    assert_numbers(tmp_path / "run", measured)


def test_several_processes_share_the_work(dataset, measured, tmp_path):
    for rank in (1, 0):
        run_on(dataset, tmp_path / "run", target="true", faithfulness=PLAN, shard=Shard(rank, 2))
    assert_numbers(tmp_path / "run", measured)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, 'faithfulness was {"steps": 7, "blur": 0.05}, is null'),
        (FaithfulnessPlan(8), "faithfulness.steps was 7, is 8"),
        (FaithfulnessPlan(STEPS, blur=0.1), "faithfulness.blur was 0.05, is 0.1"),
    ],
)
def test_another_choice_in_the_same_folder_is_refused(dataset, measured, change, said):
    with pytest.raises(RunError) as caught:
        run_on(dataset, measured, target="true", faithfulness=change)
    assert said in str(caught.value)
    assert "name another --output" in str(caught.value)


def test_a_run_without_them_is_as_it_was(dataset, undisturbed):
    """Its manifest, so its identity, and its columns: older versions wrote the same."""
    assert "faithfulness" not in json.loads((undisturbed / "manifest.json").read_text())["run"]
    manifest = read_manifest(undisturbed)
    assert manifest.run.faithfulness is None
    assert list(columns_of(manifest.run)) == list(COLUMNS)
    rows = read_rows(undisturbed, manifest.run.parts, ["insertion", "sample"])
    assert rows["insertion"].null_count == len(rows)
    score = scores_of(undisturbed, "gradient")["insertion_auc"]
    assert score == {"value": None, "reason": score["reason"]}
    assert "without --faithfulness" in score["reason"]


def test_a_method_is_added_by_merging(dataset, measured, tmp_path):
    alone = {name: {name: METHODS[name]} for name in METHODS}
    for name, methods in alone.items():
        run_on(dataset, tmp_path / name, target="true", faithfulness=PLAN, methods=methods)
    merge([tmp_path / name for name in alone], tmp_path / "both")
    assert_numbers(tmp_path / "both", measured)
    parts = {part: part.stat().st_mtime_ns for part in (tmp_path / "both" / "rows").iterdir()}
    run_on(dataset, tmp_path / "both", target="true", faithfulness=PLAN)  # it goes on with it, and nothing is missing
    assert {part: part.stat().st_mtime_ns for part in parts} == parts


def test_runs_with_and_without_are_not_merged(dataset, measured, tmp_path):
    run_on(dataset, tmp_path / "plain", target="true", methods={"grad_cam": {}})
    with pytest.raises(RunError) as caught:
        merge([measured, tmp_path / "plain"], tmp_path / "both")
    assert 'faithfulness was {"steps": 7, "blur": 0.05}, is null' in str(caught.value)
    assert "only runs that agree in all but their methods can be merged" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FaithfulnessPlan(steps=1), "faithfulness has 1 steps; 2 or more"),
        (lambda: FaithfulnessPlan(steps="3"), "steps is '3'; a whole number is needed"),
        (lambda: FaithfulnessPlan(steps=None), "steps is None; a whole number is needed"),
        (lambda: FaithfulnessPlan(steps=2.5), r"steps is 2\.5; a whole number is needed"),
        (lambda: FaithfulnessPlan(steps=True), "steps is True; a whole number is needed"),
        (lambda: FaithfulnessPlan(blur="x"), "blur is 'x'; a number is needed"),
        (lambda: FaithfulnessPlan(blur=None), "blur is None; a number is needed"),
        (lambda: FaithfulnessPlan(blur=float("nan")), r"in \(0, 0\.5\]"),
        (lambda: FaithfulnessPlan(blur=0.0), r"the blur of faithfulness is 0\.0; a share"),
        (lambda: FaithfulnessPlan(blur=0.6), r"in \(0, 0\.5\]"),
        (
            lambda: EvaluationPlan({"gradient": {}}, target="true", grid=GridPlan(), faithfulness=PLAN),
            "measured on single images, and a grid pointing game has squares",
        ),
    ],
)
def test_what_cannot_be_measured(make, said):
    with pytest.raises(OptionError, match=said):
        make()


def test_more_steps_than_pixels_are_refused_before_anything_is_written(dataset, tmp_path):
    with pytest.raises(OptionError, match="has 1601 steps, and the network's input has 1600 pixels"):
        run_on(dataset, tmp_path / "run", faithfulness=FaithfulnessPlan(1601))
    assert not (tmp_path / "run").exists()
