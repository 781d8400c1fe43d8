"""The gallery: which images are chosen, and that its cards show what was judged."""

import base64
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from looktwice.cli import app
from looktwice.errors import RunError
from looktwice.images import Window
from looktwice.metrics import iou
from looktwice.models import Preprocessing
from looktwice.report.card_pictures import map_picture
from looktwice.report.finished_run import read_run
from looktwice.report.gallery import make_gallery, select
from looktwice.report.page import render
from looktwice.runs.manifest import About, Manifest, PreprocessingFacts
from report_runs import HEIGHT, METHODS, WIDTH, finds, half_older, make_data, make_older, make_run


def numbers(found, chosen):
    return [int(found.subjects[index].sample.split()[0].removesuffix(".png")) for index in chosen]


def test_the_gallery_takes_turns(run):
    found = read_run(run)
    chosen = select(found, 100)
    assert sorted(chosen) == list(range(len(found.subjects)))
    first = numbers(found, chosen)[:4]
    # In turns: a gain, a loss, a plain hit, a plain miss; who disagrees is among the first two here.
    gain, loss, hit, miss = first
    assert (finds("global_feedback", gain), finds("feedback", gain)) == (True, False)
    assert (finds("global_feedback", loss), finds("feedback", loss)) == (False, True)
    assert all(finds(method, hit) for method in METHODS)
    assert not any(finds(method, miss) for method in METHODS)
    assert select(found, 3) == chosen[:3]
    assert select(replace(found, methods=("gradient",)), 100)  # nothing to gain over


def assert_verdicts_are_of_the_drawn_boxes(gallery, slack=0.0):
    """How many views have a box; the IoU and the verdict of each are those of the box that is drawn."""
    drawn = 0
    for card in gallery.cards:
        for view in card.views.values():
            assert view.hit == (view.value >= 0.5)
            judged = [box for box in view.boxes if box.is_judged]
            if judged:
                drawn += 1
                assert view.has_boxes
                overlap = iou([box.corners for box in judged], card.truths).max(axis=1)
                assert overlap.max() == pytest.approx(view.value, abs=slack or 1e-6)
                assert view.hit == (overlap.max() >= 0.5)
                assert [box.is_right for box in judged] == [bool(each >= 0.5) for each in overlap]
    return drawn


def test_drawn_boxes_are_those_that_were_judged(run, bare):
    found = read_run(run)
    assert found.drawn_at["feedback"] != found.rule_of("feedback").threshold  # else this shows nothing
    with_maps, without = make_gallery(found, 100), make_gallery(read_run(bare), 100)
    for gallery in (with_maps, without):
        assert assert_verdicts_are_of_the_drawn_boxes(gallery) == len(METHODS) * len(gallery.cards)
        assert not gallery.notes
        assert gallery.has_maps
        assert all(
            view.heat.startswith("data:image/png;base64,") for card in gallery.cards for view in card.views.values()
        )


def opacity(heat):
    """How opaque a card's map is (H, W), 0 … 204."""
    picture = Image.open(io.BytesIO(base64.b64decode(heat.partition(",")[2])))
    return np.asarray(picture.convert("RGBA"))[..., 3].astype(float)


def test_a_map_that_was_not_saved_looks_like_the_saved_one(run, bare):
    """The rows keep a small map of every image, so no card needs --save-maps."""
    galleries = (make_gallery(read_run(each), 100) for each in (run, bare))
    pairs = [
        (opacity(one.views[method].heat), opacity(other.views[method].heat))
        for one, other in zip(*(gallery.cards for gallery in galleries), strict=True)
        for method in METHODS
    ]
    assert len(pairs) == 10 * len(METHODS)
    for full, small in pairs:
        assert full.shape == small.shape
        assert np.abs(full - small).max() < 30
        assert min(full.max(), small.max()) > 180


def test_an_older_run_without_maps_says_so(bare, tmp_path):
    gallery = make_gallery(read_run(make_older(bare, tmp_path / "run")), 100)
    assert not gallery.has_maps
    assert all(view.heat is None for card in gallery.cards for view in card.views.values())
    assert gallery.notes[-1] == (
        "An older version made the run, which kept no maps. To see all maps, evaluate into a new folder (another "
        "--output)."
    )


def test_a_run_with_maps_of_some_images_counts_the_cards_that_lack_them(bare, tmp_path):
    run = half_older(bare, tmp_path / "run")
    gallery = make_gallery(read_run(run), 100)
    lacking = [card for card in gallery.cards if all(view.heat is None for view in card.views.values())]
    assert gallery.has_maps
    assert 0 < len(lacking) < len(gallery.cards)
    assert gallery.notes[-1] == (
        f"{len(lacking)} cards lack maps, since rows of older versions have none. To see all maps, evaluate into a "
        "new folder (another --output)."
    )
    assert render([run]).count("No map is kept for this image and method.") == len(lacking)
    assert "No map is kept" not in render([bare])


def test_a_broken_small_map_costs_only_itself(data, tmp_path):
    """Nothing vouches for the rows of an older run."""
    older = make_older(make_run(tmp_path / "run", data, maps=False), tmp_path / "older")
    for part in (older / "rows").iterdir():
        table = pq.read_table(part, partitioning=None)
        broken = pa.array([b"no picture"] * len(table), pa.binary())
        pq.write_table(table.append_column("small_map", broken).replace_schema_metadata(None), part)
    gallery = make_gallery(read_run(older), 100)
    assert len(gallery.cards) == 10
    assert not gallery.has_maps


def test_other_boxes_of_a_map_are_drawn_and_told_from_the_judged_one(data, tmp_path):
    run = read_run(make_run(tmp_path / "run", data, maps=False, rule="objects"))
    rows = {
        (row["sample"], row["method"]): row
        for part in sorted((tmp_path / "run" / "rows").iterdir())
        for row in pq.read_table(part, partitioning=None).to_pylist()
    }
    for card in make_gallery(run, 100).cards:
        for method, view in card.views.items():
            row = rows[card.sample, method]
            assert [box.corners for box in view.boxes] == [
                (box["x1"], box["y1"], box["x2"], box["y2"]) for box in row["boxes"]
            ]
            assert [box.is_judged for box in view.boxes] == [True] + [False] * (len(row["boxes"]) - 1)
            assert view.boxes[0].is_right == view.hit
            assert [box.is_right for box in view.boxes[1:]] == [place >= 0 for place in row["box_truths"][1:]]


def test_the_cards_of_squares(grid):
    found = read_run(grid)
    gallery = make_gallery(found, 100)
    assert not gallery.notes
    assert gallery.reported == len(gallery.cards) == 12  # four of each square
    assert (gallery.value, gallery.judges_boxes, gallery.has_gains) == ("share in the own quarter", False, True)
    assert sorted(card.truths[0][:2] for card in gallery.cards) == sorted(
        [(x, y) for x in (0.0, WIDTH / 2) for y in (0.0, HEIGHT / 2)] * 3
    )
    for card in gallery.cards:
        assert card.picture.startswith("data:image/jpeg")
        upper_left = card.truths[0][:2] == (0.0, 0.0)
        assert card.views["global_feedback"].value > 0.95
        assert (card.views["feedback"].value > 0.95) == upper_left
        assert card.views["feedback"].numbers == {"share in the own quarter": card.views["feedback"].value}
        assert all(view.hit is None and view.heat and not view.boxes for view in card.views.values())
    assert {card.truths[0][:2] for card in gallery.cards[::2][:4]} != {(0.0, 0.0)}  # gains come first


def test_a_square_shows_its_four_images_as_the_network_saw_them(grid):
    found = read_run(grid)
    (card,) = make_gallery(found, 1).cards
    picture = Image.open(io.BytesIO(base64.b64decode(card.picture.partition(",")[2])))
    assert picture.size == (320, 320)  # squashed to a square each
    gone = replace(found, manifest=replace(found.manifest, about=About.of({})))
    (card,) = make_gallery(gone, 1).cards
    assert card.picture is None
    assert card.truths  # the manifest tells the squares


def test_the_cards_of_a_run_without_boxes(boxless):
    gallery = make_gallery(read_run(boxless), 100)
    assert not gallery.notes
    assert len(gallery.cards) == gallery.reported == 10
    assert (gallery.value, gallery.judges_boxes, gallery.has_maps) == ("insertion", False, True)
    for card in gallery.cards:
        assert card.picture
        assert not card.truths
        for view in card.views.values():
            assert (view.hit, view.boxes, view.has_boxes) == (None, (), True)
            assert list(view.numbers) == ["insertion", "deletion"]
        assert card.gain == pytest.approx(0.1)
        assert (card.hits, card.disagreed) == (0, False)


def test_a_run_without_boxes_and_faithfulness_has_a_gallery_too(boxless, tmp_path):
    data = boxless.parent / "data"
    gallery = make_gallery(read_run(make_run(tmp_path / "run", data, maps=False)), 4)
    assert (len(gallery.cards), gallery.reported, gallery.value, gallery.has_gains) == (4, 10, "", False)
    assert all(np.isnan(view.value) and view.heat for card in gallery.cards for view in card.views.values())


def test_an_older_run_without_maps_draws_no_box_that_was_not_judged(bare, tmp_path):
    """It kept boxes at 0.20 and judged boxes at another threshold: a hit stood over a box that is a miss."""
    found = read_run(make_older(bare, tmp_path / "run"))
    gallery = make_gallery(found, 100)
    assert assert_verdicts_are_of_the_drawn_boxes(gallery) == 0
    assert not any(view.has_boxes for card in gallery.cards for view in card.views.values())
    assert f"did not keep {len(METHODS) * len(gallery.cards)} of the boxes that were judged" in gallery.notes[0]
    page = render([tmp_path / "run"])
    assert '"boxes": []' in page
    assert '"boxes": [[' not in page


def test_an_older_run_with_maps_draws_them_again_at_the_threshold_that_counts(run, tmp_path):
    gallery = make_gallery(read_run(make_older(run, tmp_path / "run")), 100)
    assert assert_verdicts_are_of_the_drawn_boxes(gallery, slack=0.03) == len(METHODS) * len(gallery.cards)
    assert not gallery.notes


def test_a_box_of_a_saved_map_that_was_not_judged_is_not_drawn(run, tmp_path):
    older = make_older(run, tmp_path / "run")
    for file in older.glob("maps/*"):
        with np.load(file) as arrays:
            others = dict(arrays)
        others["feedback"] = others["feedback"][:, ::-1, ::-1]
        np.savez(file, **others)
    gallery = make_gallery(read_run(older), 100)
    assert 0 < assert_verdicts_are_of_the_drawn_boxes(gallery, slack=0.03) < len(METHODS) * len(gallery.cards)
    assert not any(card.views["feedback"].boxes for card in gallery.cards if card.views["feedback"].hit)


def test_the_best_of_any_box_needs_maps(data, tmp_path):
    with_maps = make_gallery(read_run(make_run(tmp_path / "with", data, boxes="any")), 100)
    assert assert_verdicts_are_of_the_drawn_boxes(with_maps, slack=0.03) == len(METHODS) * len(with_maps.cards)
    without = make_gallery(read_run(make_run(tmp_path / "without", data, boxes="any", maps=False)), 100)
    assert assert_verdicts_are_of_the_drawn_boxes(without) == 0
    assert "boxes that were judged, so they are not drawn" in without.notes[0]


def test_cards_without_the_data_set(run, tmp_path):
    manifest = json.loads((run / "manifest.json").read_text())
    found = read_run(run)
    other = manifest["run"] | {"data": {"fingerprint": "0" * 64}}
    identity = Manifest.from_json({"run": other}).identity
    for changed, said in (
        ({"about": manifest["about"] | {"root": str(tmp_path / "gone")}}, "gone does not exist"),
        ({"about": {}}, "does not tell where its images are"),
        ({"run": other, "identity": identity}, "does not hold the images and boxes of the run"),
    ):
        gallery = make_gallery(replace(found, manifest=Manifest.from_json(manifest | changed)), 5)
        assert said in gallery.notes[0]
        assert all(card.picture is None and not card.truths for card in gallery.cards)
        assert gallery.cards[0].shown_class.startswith("class ")


def test_a_data_set_that_moved(run, data, tmp_path):
    manifest = json.loads((run / "manifest.json").read_text())
    found = replace(
        read_run(run), manifest=Manifest.from_json(manifest | {"about": manifest["about"] | {"root": "gone"}})
    )
    assert make_gallery(found, 5).cards[0].picture is None
    moved = make_gallery(found, 5, shutil.copytree(data, tmp_path / "moved"))
    assert not moved.notes
    assert moved.cards == make_gallery(read_run(run), 5).cards
    other = make_gallery(found, 5, make_data(tmp_path / "other", largest=(20, 14, 48, 41)))
    assert "other does not hold the images and boxes of the run" in other.notes[0]


def test_a_classes_file_that_is_gone_is_named(run, data, tmp_path):
    moved = shutil.move(shutil.copytree(data, tmp_path / "data"), tmp_path / "moved")
    found = read_run(run)
    about = dict(found.manifest.about.told) | {
        "root": str(tmp_path / "data"),
        "classes": str(tmp_path / "classes.json"),
    }
    gone = replace(found, manifest=replace(found.manifest, about=About.of(about)))
    assert "data does not exist" in make_gallery(gone, 5).notes[0]
    assert make_gallery(gone, 5, moved).cards == make_gallery(found, 5).cards  # it lies in the folder of the data
    (moved / "classes.json").unlink()
    gallery = make_gallery(gone, 5, moved)
    assert f"The classes file {tmp_path / 'classes.json'} does not exist" in gallery.notes[0]
    assert gallery.cards[0].picture is None


def test_what_the_gallery_is_of(run, data, tmp_path):
    found = read_run(run)
    assert make_gallery(found, 3).reported == len(found.subjects) > 3
    assert "All 10 reported images." in render([run])
    few = render([make_run(tmp_path / "run", data, methods=("gradient",))])
    assert "of global over local feedback" in render([run])
    assert "of global over local feedback" not in few


def test_a_picture_that_cannot_be_read_costs_only_itself(tmp_path):
    data = make_data(tmp_path / "data")
    found = read_run(make_run(tmp_path / "run", data))
    (data / "13.png").write_bytes(b"no picture")
    gallery = make_gallery(found, 100)
    assert sum(card.picture is None for card in gallery.cards) == 1
    assert "1 of the pictures" in gallery.notes[0]


@pytest.mark.parametrize("content", [b"", b"PK", b"no maps"])
def test_a_damaged_file_of_maps_is_one_line(data, tmp_path, content):
    run = make_run(tmp_path / "run", data)
    (run / "maps" / "part-000001.npz").write_bytes(content)
    with pytest.raises(RunError, match=r"part-000001\.npz cannot be read .*; evaluate into another folder"):
        render([run])
    result = CliRunner().invoke(app, ["report", str(run), "--output", str(tmp_path / "report.html")])
    assert result.exit_code == 1
    assert not (tmp_path / "report.html").exists()


def test_a_file_of_maps_that_names_no_images_is_refused(data, tmp_path):
    run = make_run(tmp_path / "run", data)
    np.savez(run / "maps" / "part-000001.npz", gradient=np.zeros((4, 32, 32)))
    with pytest.raises(RunError, match="it has no arrays sample, target, rank"):
        render([run])


def test_pictures_are_small(run):
    card = make_gallery(read_run(run), 1).cards[0]
    picture = Image.open(io.BytesIO(base64.b64decode(card.picture.partition(",")[2])))
    assert (picture.format, picture.size) == ("JPEG", (WIDTH, HEIGHT))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (224, 224), (301, 999), (64, 48)])
@pytest.mark.parametrize("squash", [False, True])
def test_the_window_is_the_models(size, squash):
    choices = {"resize": 256, "crop": 224, "squash": squash}
    model = Preprocessing(**choices, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert PreprocessingFacts(**choices).window(*size) == model.window(*size)


def test_a_map_lies_where_the_network_looked():
    heat = np.zeros((16, 16))
    heat[:8, :8] = 1.0
    window = Window(100.0, 0.0, 200.0, 100.0, 200, 100)
    picture = Image.open(io.BytesIO(map_picture(heat, window)))
    assert picture.size == (56, 28)
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    assert alpha[:13, 29:41].min() == 204
    assert alpha[15:].max() == alpha[:, :28].max() == alpha[:, 43:].max() == 0


def test_a_map_may_reach_out_of_its_image():
    """The crop is larger than the image: the middle half of the map is the image."""
    heat = np.zeros((16, 16))
    heat[:8, :8] = 1.0
    window = Window(-50.0, -50.0, 150.0, 150.0, 100, 100)
    alpha = np.asarray(Image.open(io.BytesIO(map_picture(heat, window))).convert("RGBA"))[..., 3]
    assert alpha.shape == (56, 56)
    assert alpha[:25, :25].min() == 204
    assert alpha[32:].max() == alpha[:, 32:].max() == 0
