"""Labels stopped at any moment go on and end with the same files, or are refused."""

import errno
import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from evaluations import PREPROCESSING, StopError, colours, stop_after
from labelling import PLAN, annotations, files, label
from looktwice.attention import Label, Method
from looktwice.attention.choice import choose_methods
from looktwice.attention.methods import FINISH_OPTIONS
from looktwice.datasets import Dataset, Sample, known_classes, load_dataset
from looktwice.errors import DatasetError, LooktwiceWarning, ModelError, OptionError, RunError
from looktwice.evaluation.processes import Shard
from looktwice.images import read_image
from looktwice.labelling.plan import LabelPlan
from looktwice.localization import BoxRule, locate
from looktwice.models import Model


def test_the_boxes_are_those_that_attend_and_locate_give(dataset, undisturbed):
    import looktwice

    model = colours()
    expected = {}
    for sample in dataset.samples:
        pixels, window = model.prepare(read_image(sample.image))
        for label_index in sample.labels:
            found = looktwice.attend(model.module, pixels, label_index, method="gradient")
            boxes = locate(found.extents[0].numpy(), window)
            expected[sample.id, model.classes[label_index]] = boxes
    found = {}
    for name, category, bbox, score in annotations(undisturbed):
        found.setdefault((name, category), []).append((bbox, score))
    assert {key: len(boxes) for key, boxes in expected.items() if boxes} == {k: len(v) for k, v in found.items()}
    for key, boxes in found.items():
        for (bbox, score), box in zip(boxes, expected[key], strict=True):
            x, y, width, height = bbox
            np.testing.assert_allclose((x, y, x + width, y + height), box.corners, atol=0.02)
            assert score == pytest.approx(box.score, abs=1e-4)


@pytest.mark.parametrize("workers", [0, 1])
def test_stopped_labels_go_on_and_redo_nothing(dataset, undisturbed, tmp_path, workers):
    output = tmp_path / "labels"
    for images in (4, 12):
        with pytest.raises(StopError):
            label(dataset, output, workers=workers, progress=stop_after(images))
        assert not (output / "coco.json").exists()
    made = {part: part.stat().st_mtime_ns for part in (output / "parts").iterdir()}
    assert len(made) >= 3
    label(dataset, output)
    assert files(output) == files(undisturbed)
    assert {part: part.stat().st_mtime_ns for part in made} == made


def test_any_number_of_processes_goes_on(dataset, undisturbed, tmp_path):
    output = tmp_path / "labels"
    with pytest.raises(StopError):
        label(dataset, output, progress=stop_after(4))
    status = label(dataset, output, shard=Shard(1, 3))
    assert (status.missing, status.labels) == (3, None)
    assert not (output / "coco.json").exists()
    assert label(dataset, output, shard=Shard(0, 2)).missing == 2
    assert label(dataset, output, shard=Shard(1, 2)).missing == 0
    assert files(output) == files(undisturbed)


def test_unusable_parts_are_redone_and_leftovers_swept(dataset, undisturbed, tmp_path):
    output = tmp_path / "labels"
    label(dataset, output)
    parts = sorted((output / "parts").iterdir())
    parts[0].write_bytes(parts[0].read_bytes()[:-50])
    parts[1].write_bytes(parts[1].read_bytes().replace(b"1", b"2", 1))
    parts[2].write_bytes(parts[3].read_bytes())  # another chunk's
    parts[4].write_bytes(b"")
    host = socket.gethostname().replace(".", "-")
    half = output / "parts" / f".part-000000.json.{host}.4194305.tmp"
    half.write_bytes(b"half")
    label(dataset, output)
    assert files(output) == files(undisturbed)


def test_another_form_is_written_without_looking_again(dataset, undisturbed, tmp_path):
    class BlindError(Exception):
        pass

    class Blind(nn.Module):
        def forward(self, images):
            raise BlindError

    output = tmp_path / "labels"
    label(dataset, output, forms=["coco"])
    made = {part: part.stat().st_mtime_ns for part in (output / "parts").iterdir()}
    written = []
    label(dataset, output, forms=["yolo"], written=written.append)
    assert {part: part.stat().st_mtime_ns for part in made} == made
    assert [path.relative_to(output).parts[0] for path in written] == ["yolo", "review.html"]
    assert files(output) == files(undisturbed)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"plan": replace(PLAN, batch_size=8)}, "batch_size was 4, is 8"),
        ({"plan": replace(PLAN, method="guided_backprop")}, "method.name was gradient, is guided_backprop"),
        ({"plan": replace(PLAN, rule=BoxRule(min_score=0.4))}, "box.min_score was 0.2, is 0.4"),
        ({"model": replace(colours(), name="others")}, "model.name was colours, is others"),
    ],
)
def test_other_labels_in_the_folder_are_refused_and_what_differs_is_named(dataset, undisturbed, choice, said):
    before = files(undisturbed)
    with pytest.raises(RunError, match=r"holds other labels: .*") as refused:
        label(dataset, undisturbed, **choice)
    assert said in str(refused.value)
    assert files(undisturbed) == before


def test_other_images_are_refused(dataset, undisturbed):
    with pytest.raises(RunError, match="there were 22 images, and there are 21 now"):
        label(replace(dataset, samples=dataset.samples[1:]), undisturbed)
    with pytest.raises(RunError, match="holds other labels: the images are others than before"):
        label(replace(dataset, samples=(replace(dataset.samples[0], id="new"), *dataset.samples[1:])), undisturbed)


def test_other_classes_are_refused_in_a_few_words(dataset, undisturbed):
    unlabelled = replace(dataset, samples=tuple(replace(each, labels=(), boxes=()) for each in dataset.samples))
    with pytest.raises(RunError, match="there were 5 classes, and there are 6 now"):
        label(unlabelled, undisturbed)


def test_the_data_set_s_own_names_of_classes_count(dataset, tmp_path):
    named = replace(dataset, class_names={0: "rot", 1: "grün"})
    label(named, tmp_path / "labels")
    content = json.loads((tmp_path / "labels" / "classes.json").read_text())
    assert [each["name"] for each in content["classes"]] == ["rot", "grün", "b", "m", "y"]


def test_a_folder_with_other_files_is_refused(dataset, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match=r"holds other files, such as thesis\.txt; name a new or empty folder"):
        label(dataset, tmp_path)
    assert files(tmp_path) == {"thesis.txt": b"mine"}


def test_an_evaluation_in_the_folder_is_refused(dataset, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(RunError, match=r"such as manifest\.json"):
        label(dataset, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"about": 1, "facts": 2}', "[" * 100_000])
def test_a_damaged_manifest_is_one_line(dataset, tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(RunError, match=r"labels\.json cannot be read"):
        label(dataset, tmp_path)


def test_the_manifest_that_goes_while_work_is_done_stops_it(dataset, tmp_path):
    output = tmp_path / "labels"

    def remove(done, total):
        if done == 8:
            (output / "labels.json").unlink()

    with pytest.raises(RunError, match="is gone or damaged"):
        label(dataset, output, progress=remove)


def test_a_full_disk_is_one_line_and_what_is_done_stays(dataset, undisturbed, tmp_path, monkeypatch):
    output = tmp_path / "labels"
    fsync, count = os.fsync, iter(range(1000))

    def full(handle):
        if next(count) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="free some space"):
            label(dataset, output)
    assert list((output / "parts").glob("*.json"))
    label(dataset, output)
    assert files(output) == files(undisturbed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_one_line(dataset, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="check the folder's permissions"):
        label(dataset, tmp_path / "labels")


def test_a_file_in_the_folders_place_is_one_line(dataset, tmp_path):
    (tmp_path / "labels").write_text("mine")
    with pytest.raises(RunError, match="labels is a file; name a folder"):
        label(dataset, tmp_path / "labels")


def broken(dataset, folder):
    """The data set with three files that cannot be read in place of three pictures."""
    folder.mkdir()
    (folder / "text.png").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    files = [folder / "text.png", folder / "empty.png", folder / "missing.png"]
    samples = list(dataset.samples)
    for number, file in zip((1, 5, 21), files, strict=True):
        samples[number] = replace(samples[number], image=file)
    return replace(dataset, samples=tuple(samples))


def test_pictures_that_cannot_be_read_are_counted_and_listed_and_cost_only_themselves(dataset, undisturbed, tmp_path):
    output = tmp_path / "labels"
    status = label(broken(dataset, tmp_path / "broken"), output)
    assert status.labels.count == 19
    lines = (output / "problems.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["001.png", "005.png", "021.png"]
    assert list(status.problems) == lines
    lost = {"001.png", "005.png", "021.png"}
    assert annotations(output) == [each for each in annotations(undisturbed) if each[0] not in lost]


def test_nothing_that_can_be_read_is_one_line(dataset, tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    nothing = Dataset((Sample("a.png", tmp_path / "a.png", (0,), ((),)),))
    with pytest.raises(DatasetError, match=r"none of 1 images can be used; the first: a\.png: is not an image"):
        label(nothing, tmp_path / "labels")


def test_a_map_of_nan_costs_only_its_image(dataset, tmp_path):
    class Spoilt(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = colours().module

        def forward(self, images):
            dark = images.amax((1, 2, 3)) < 0.9  # no bright square
            return torch.where(dark[:, None], torch.nan, self.inner(images))

    Image.new("RGB", (40, 40), "black").save(tmp_path / "dark.png")
    dark = Sample("dark.png", tmp_path / "dark.png", (0,), ((),))
    data = replace(dataset, samples=(*dataset.samples[:3], dark))
    model = Model("spoilt", Spoilt().eval(), PREPROCESSING, tuple("rgbcmy"), "by hand")
    status = label(data, tmp_path / "labels", model=model)
    assert status.labels.count == 3
    assert len(status.problems) == 1
    assert status.problems[0].startswith("dark.png: ")
    assert "NaN" in status.problems[0]


def test_a_method_that_fails_on_one_image_costs_only_that_image(dataset, undisturbed, tmp_path):
    def bright(network, images, targets):
        if (len(images) > 1 and bool((images.amax((1, 2, 3)) < -0.8).any())) or bool((images == -1).all()):
            raise ModelError("the class gradient is not finite")
        return images.amax(1) + 1

    row = Method(Label("Bright", "Bright", "#123456"), "", "mine", dict(FINISH_OPTIONS), attribute=bright)
    (method,) = choose_methods({"bright": row})
    Image.new("RGB", (40, 40), "black").save(tmp_path / "dark.png")
    dark = Sample("dark.png", tmp_path / "dark.png", (0,), ((),))
    data = replace(dataset, samples=(dataset.samples[0], dark, *dataset.samples[1:3]))
    found = label(data, tmp_path / "labels", plan=replace(PLAN, method=method))
    assert found.problems == ("dark.png: the class gradient is not finite",)
    alone = label(replace(dataset, samples=dataset.samples[:3]), tmp_path / "alone", plan=replace(PLAN, method=method))
    boxes = [[[each.box for each in image.objects] for image in of.labels.images()] for of in (found, alone)]
    assert boxes[0] == boxes[1]


def test_a_killed_decoder_is_one_line_wherever_torch_tells_it(dataset, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed. ")

    monkeypatch.setattr("looktwice.labelling.label.look_at_chunk", killed)
    with pytest.raises(RunError, match="a process that decodes images was killed"):
        label(dataset, tmp_path / "labels")


def test_images_without_a_class_that_is_probable_enough_have_no_box_and_are_counted(dataset, tmp_path):
    bare = replace(dataset, samples=tuple(replace(each, labels=(), boxes=()) for each in dataset.samples))
    status = label(bare, tmp_path / "labels", plan=replace(PLAN, min_probability=1.0), model=softer())
    assert (status.labels.count, status.without_class, status.boxes) == (22, 22, 0)
    assert len(status.labels.classes) == 6


def softer():
    model = colours()
    model.module.head.weight.data.mul_(0.01)
    return model


@pytest.mark.parametrize("value", range(1, 9))
def test_a_turned_photo_is_turned_once(tmp_path, value):
    pixels = np.full((40, 60, 3), 20, dtype=np.uint8)
    pixels[4:16, 6:20, 0] = 250  # as it is seen upright
    upright = Image.fromarray(pixels)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the turn that undoes each orientation
    stored = upright if value == 1 else upright.transpose(Image.Transpose(back[value]))
    exif = Image.Exif()
    exif[0x0112] = value
    stored.save(tmp_path / "photo.png", exif=exif)
    upright.save(tmp_path / "straight.png")
    samples = [Sample(name, tmp_path / name, (0,), ((),)) for name in ("photo.png", "straight.png")]
    status = label(Dataset(tuple(samples)), tmp_path / "labels", forms=["coco"], plan=replace(PLAN, batch_size=1))
    turned, straight = status.labels.images()
    assert (turned.width, turned.height) == (straight.width, straight.height) == (60, 40)
    assert turned.objects == straight.objects
    assert turned.objects
    assert (turned.orientation is None, status.turned) == ((True, 0) if value == 1 else (False, 1))


def test_the_split_keeps_images_on_their_side_and_has_one_on_each(dataset, tmp_path):
    few, output = replace(dataset, samples=dataset.samples[:4]), tmp_path / "labels"
    for share, least, most in ((0.2, 1, 3), (0.0, 0, 0), (0.95, 1, 3)):
        status = label(few, output, split=share, forms=["coco"])
        assert least <= len(status.labels.validation) <= most
    one = label(dataset, tmp_path / "all", split=0.5, forms=["coco"]).labels.validation
    other = label(replace(dataset, samples=dataset.samples[:15]), tmp_path / "some", split=0.5, forms=["coco"])
    assert other.labels.validation == {id for id in one if id in {each.id for each in dataset.samples[:15]}}


@pytest.mark.parametrize("split", [-0.1, 1.0, float("nan")])
def test_a_split_outside_its_range_is_refused(dataset, tmp_path, split):
    with pytest.raises(OptionError, match="share of images for validation"):
        label(dataset, tmp_path / "labels", split=split)


@pytest.mark.parametrize(("forms", "said"), [([], "no form is named"), (["cocoa"], "did you mean coco")])
def test_an_unknown_form_is_refused_before_any_work(dataset, tmp_path, forms, said):
    with pytest.raises(OptionError, match=said):
        label(dataset, tmp_path / "labels", forms=forms)
    assert not (tmp_path / "labels").exists()


def test_a_network_without_activations_is_refused_and_leaves_nothing(dataset, tmp_path):
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 6)

        def forward(self, images):
            return self.head(images.mean((2, 3)))

    model = Model("linear", Linear().eval(), PREPROCESSING, tuple("rgbcmy"), "by hand")
    with pytest.raises(ModelError):
        label(dataset, tmp_path / "labels", model=model, plan=LabelPlan("feedback"))
    assert not (tmp_path / "labels").exists()


def test_pictures_are_drawn_only_where_they_are_asked_for(dataset, tmp_path):
    few = replace(dataset, samples=dataset.samples[:2])
    label(few, tmp_path / "plain")
    assert not (tmp_path / "plain" / "pictures").exists()
    label(few, tmp_path / "drawn", pictures=True)
    drawn = sorted(path.name for path in (tmp_path / "drawn" / "pictures").iterdir())
    expected = [f"{Path(each.id).stem}.{label_index}.png" for each in few.samples for label_index in each.labels]
    assert drawn == sorted(expected)
    assert annotations(tmp_path / "drawn") == annotations(tmp_path / "plain")


def test_maps_and_pictures_can_be_added_to_labels_that_are_there(dataset, undisturbed, tmp_path):
    both, later = tmp_path / "both", tmp_path / "later"
    label(dataset, both, forms=["coco", "wsol"], pictures=True)
    label(dataset, later, forms=["coco"])
    made = {part: part.stat().st_mtime_ns for part in (later / "parts").iterdir()}
    label(dataset, later, forms=["wsol"], pictures=True)
    assert files(later) == files(both)
    assert all(part.stat().st_mtime_ns > when for part, when in made.items())
    made = {part: part.stat().st_mtime_ns for part in (later / "parts").iterdir()}
    (later / "pictures" / "008.2.png").unlink()
    label(dataset, later, forms=["coco"])  # asks for no pictures
    assert {part: part.stat().st_mtime_ns for part in made} == made
    label(dataset, later, forms=["coco"], pictures=True)
    assert [part.name for part, when in made.items() if part.stat().st_mtime_ns > when] == ["part-000002.json"]
    assert files(later) == files(both)


def test_a_score_is_that_of_the_box_and_of_a_class_that_was_not_given(dataset, tmp_path):
    few = replace(dataset, samples=dataset.samples[:2])
    bare = replace(few, samples=tuple(replace(each, labels=(), boxes=()) for each in few.samples))
    given = label(few, tmp_path / "given", model=softer())
    named = label(bare, tmp_path / "named", plan=replace(PLAN, target=(few.samples[0].labels[0],)), model=softer())
    (one, *_), (other, *_) = list(given.labels.images()), list(named.labels.images())
    assert (one.classes[0].given, other.classes[0].given) == (True, False)
    probability = other.classes[0].probability
    assert 0.001 < probability < 0.9
    first = [each for each in one.objects if each.id == one.classes[0].id]
    assert [each.box.score for each in other.objects] == [pytest.approx(probability * each.box.score) for each in first]


def test_boxes_of_a_class_that_is_most_likely_not_there_are_counted(dataset, tmp_path):
    bare = replace(dataset, samples=tuple(replace(each, labels=(), boxes=()) for each in dataset.samples[:4]))
    found = label(bare, tmp_path / "labels", plan=replace(PLAN, target=(4, 5)))
    by_hand = 0
    for image in found.labels.images():
        unlikely = [each.id for each in image.classes if each.probability < 0.01]
        by_hand += sum(each.id in unlikely for each in image.objects)
    assert found.boxes >= found.improbable == by_hand > 0
    assert label(bare, tmp_path / "some", plan=replace(PLAN, target=(4, 5), min_probability=0.01)).improbable == 0


def test_the_ids_of_the_classes_are_in_a_file(dataset, undisturbed):
    content = json.loads((undisturbed / "classes.json").read_text())
    assert content["classes"] == [{"id": index, "name": name, "index": index} for index, name in enumerate("rgb")] + [
        {"id": 3, "name": "m", "index": 4},
        {"id": 4, "name": "y", "index": 5},
    ]


def test_a_form_that_cannot_hold_a_name_is_told_and_the_others_are_written(dataset, tmp_path):
    first = dataset.samples[0]
    odd = tmp_path / " odd .png"
    odd.write_bytes(first.image.read_bytes())
    samples = (replace(first, id=" odd ,1.png", image=odd), *dataset.samples[1:3])
    data, written = replace(dataset, samples=samples), []
    with pytest.warns(LooktwiceWarning, match="wsol is not written: "):
        status = label(data, tmp_path / "labels", forms=["wsol", "coco"], written=written.append)
    assert [path.name for path in written] == ["coco.json", "review.html"]
    assert [line.partition(":")[0] for line in status.failures] == ["wsol is not written"]


def test_a_picture_that_is_replaced_is_looked_at_again_and_only_its_chunk(dataset, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    samples = []
    for sample in dataset.samples[:12]:
        copy = folder / sample.image.name
        copy.write_bytes(sample.image.read_bytes())
        samples.append(replace(sample, image=copy))
    data = replace(dataset, samples=tuple(samples))
    label(data, tmp_path / "labels")
    made = {part.name: part.read_bytes() for part in (tmp_path / "labels" / "parts").iterdir()}
    samples[5].image.write_bytes(samples[6].image.read_bytes())  # another picture
    os.utime(samples[1].image)  # the same picture
    (folder / "008.png").write_bytes(b"broken")
    label(data, tmp_path / "labels")
    label(data, tmp_path / "anew")
    assert files(tmp_path / "labels") == files(tmp_path / "anew")
    changed = [
        part.name for part in sorted((tmp_path / "labels" / "parts").iterdir()) if part.read_bytes() != made[part.name]
    ]
    assert changed == ["part-000001.json", "part-000002.json"]
    (folder / "008.png").write_bytes(dataset.samples[8].image.read_bytes())
    assert label(data, tmp_path / "labels").problems == ()  # the repaired picture is no problem any more
    assert not (tmp_path / "labels" / "problems.txt").exists()


def test_a_class_that_is_named_twice_counts_once(dataset, tmp_path):
    bare = replace(dataset, samples=(replace(dataset.samples[0], labels=(), boxes=()),))
    twice = label(bare, tmp_path / "twice", plan=replace(PLAN, target=(1, 0, 1)))
    once = label(bare, tmp_path / "once", plan=replace(PLAN, target=(1, 0)))
    assert twice.boxes == once.boxes


def test_maps_of_another_size_than_the_input_are_placed(dataset, tmp_path):
    def coarse(network, images, targets):
        return F.max_pool2d(images.amax(1, keepdim=True) + 1, 2)[:, 0]

    row = Method(Label("Coarse", "Coarse", "#123456"), "", "mine", dict(FINISH_OPTIONS), attribute=coarse)
    (method,) = choose_methods({"coarse": row})
    few = replace(dataset, samples=dataset.samples[:2])
    assert label(few, tmp_path / "labels", plan=replace(PLAN, method=method)).boxes > 0


@pytest.mark.parametrize("threads", [0, -1, "x", None, 1e400, 10**9])
def test_threads_that_are_none_are_a_damaged_manifest(dataset, tmp_path, threads):
    output = tmp_path / "labels"
    label(replace(dataset, samples=dataset.samples[:1]), output)
    content = json.loads((output / "labels.json").read_text())
    content["about"]["threads"] = threads
    (output / "labels.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"labels\.json cannot be read \(threads is"):
        label(replace(dataset, samples=dataset.samples[:1]), output)


def test_unfinished_files_of_others_are_no_matter(dataset, undisturbed, tmp_path):
    output = tmp_path / "labels"
    output.mkdir()
    host = socket.gethostname().replace(".", "-")
    for name in (f".labels.json.{host}.abc.tmp", ".tmp", f".a.{host}..tmp"):
        (output / name).write_bytes(b"half")
    label(dataset, output)
    assert {name for name in files(output) if not name.endswith(".tmp")} == set(files(undisturbed))


def test_the_file_of_classes_is_a_classes_file(dataset, undisturbed):
    found = load_dataset(dataset.source.root, "csv", classes=undisturbed / "classes.json")
    assert [sample.labels for sample in found.samples] == [sample.labels for sample in dataset.samples]


@pytest.mark.parametrize("by", ["network", "file"])
def test_classes_named_by_other_numbers_come_back_from_the_csv_form(dataset, tmp_path, by):
    numbers = ("0", "1", "10", "11", "2", "3")
    output = tmp_path / "labels"
    label(dataset, output, model=replace(colours(), classes=numbers), forms=["csv"])
    choice = {"known": known_classes(numbers)} if by == "network" else {"classes": output / "classes.json"}
    found = load_dataset(output / "labels.csv", "csv", **choice)
    assert [set(sample.labels) for sample in found.samples] == [set(sample.labels) for sample in dataset.samples]
