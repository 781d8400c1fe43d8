"""The page of finished runs: what is told is what was measured, and nothing in it can run or reach out."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from looktwice.attention.methods import METHODS as SALIENCY
from looktwice.cli import app
from looktwice.errors import RunError
from looktwice.images import Window
from looktwice.labels import label_of
from looktwice.metrics import iou
from looktwice.metrics.measures import MEASURES, TABLED
from looktwice.models import Preprocessing
from looktwice.report.card_pictures import map_picture
from looktwice.report.finished_run import read_run
from looktwice.report.gallery import make_gallery, select
from looktwice.report.page import render, write_report
from looktwice.report.plots import Axis, Bar, Point, bar_plot, cost_plot
from looktwice.report.wording import signed
from looktwice.runs.manifest import Manifest, PreprocessingFacts
from report_runs import EVIL, EVIL_FILE, HEIGHT, IMAGES, METHODS, TUNING, WIDTH, finds, make_data, make_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("report") / "data")


@pytest.fixture(scope="module")
def run(data):
    return make_run(data.parent / "run", data)


@pytest.fixture(scope="module")
def bare(data):
    """A run that kept no maps."""
    return make_run(data.parent / "bare", data, maps=False, network="googlenet")


@pytest.fixture(scope="module")
def page(run):
    return render([run])


class Reader(HTMLParser):
    """The elements of a page with their attributes, the text of each script, the cells of each table."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self.tables, self._text = [], [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append([])
        self._text = tag

    def handle_data(self, data):
        if self._text == "script":
            self.scripts[-1] += data
        elif self._text in ("th", "td", "small") and data.strip():
            self.tables[-1][-1][-1].append(data.strip())

    def handle_endtag(self, tag):
        self._text = None


def test_the_page_reaches_for_nothing(page):
    reader = Reader(page)
    places = [
        attributes[name]
        for tag, attributes in reader.elements
        for name in ("src", "href", "xlink:href", "action", "srcset")
        if name in attributes
    ]
    assert len(places) > 2 * (IMAGES - TUNING)
    assert all(place.startswith(("data:", "#")) for place in places)
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", page)
    assert not {tag for tag, _ in reader.elements} & {"iframe", "object", "embed"}


def test_names_cannot_run(page):
    reader = Reader(page)
    assert len(reader.scripts) == 2  # what the gallery shows, and the script that shows it
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not [attributes for tag, attributes in reader.elements if "onerror" in attributes]
    labels = [attributes.get("aria-label", "") for tag, attributes in reader.elements if tag == "article"]
    assert any(label.startswith(f"{EVIL}, ") for label in labels)
    assert f"espresso, {EVIL_FILE}" in labels
    json.loads(reader.scripts[0])


def test_a_method_named_like_a_script_cannot_end_it(run, tmp_path, data):
    named = make_run(tmp_path / "run", data, methods=("</script><b>",), maps=False)
    reader = Reader(render([named]))
    assert len(reader.scripts) == 2
    assert "</script><b>" in json.loads(reader.scripts[0])["cards"][0]


def test_no_torch(run, tmp_path):
    code = (
        "import sys; from looktwice.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    written = tmp_path / "report.html"
    command = [sys.executable, "-c", code, "report", str(run), "--output", str(written)]
    assert subprocess.run(command, check=False).returncode == 0
    assert written.stat().st_size > 10_000


def test_tables_hold_the_summary(run, page):
    summary = json.loads((run / "summary.json").read_text())
    measures, paired = Reader(page).tables
    known = [each.name for each in TABLED if summary["methods"]["gradient"][each.name]["value"] is not None]
    assert [cell[0].rstrip("\xa0↓↑") for cell in measures[0]] == [
        "method",
        *(MEASURES[name].short_title for name in known),
        "seconds per image",
    ]
    by_method = {row[0][0]: row[1:] for row in measures[1:]}
    for method, name in (("feedback", "Local feedback"), ("center_box", "Centre box")):
        score = summary["methods"][method]["energy_in_box"]
        value, low, high = (f"{100 * score[part]:.1f}" for part in ("value", "low", "high"))
        assert by_method[name][known.index("energy_in_box")] == [value, f"{low}–{high}"]
    assert by_method["Whole image"][known.index("pointing_game")] == ["–"]
    assert by_method["Global feedback"][-1] == ["0.30"]
    assert [row[0][0] for row in paired[1:]] == [
        f"Global feedback − {other}" for other in ("Gradient", "Local feedback", "Centre box", "Whole image")
    ]


def test_differences_are_global_feedback_less_the_other_whichever_came_first(run, page):
    summary = json.loads((run / "summary.json").read_text())
    paired = Reader(page).tables[1]
    column = [cell[0].rstrip("\xa0↓↑") for cell in paired[0]].index("mean IoU")
    rows = {row[0][0]: row[column] for row in paired[1:]}
    for method, name in (("gradient", "Gradient"), ("center_box", "Centre box")):
        ours, theirs = (summary["methods"][each]["mean_iou"]["value"] for each in ("global_feedback", method))
        assert rows[f"Global feedback − {name}"][0] == signed(100 * (ours - theirs), 1)
        low, high = (float(end.replace("−", "-")) for end in rows[f"Global feedback − {name}"][1].split(", "))
        assert low <= 100 * (ours - theirs) <= high


def test_only_what_excludes_nothing_is_bold(page):
    cells = re.findall(r'<td class="(better|worse)"[^>]*>([+−\d.]+)<small>([^<]+)</small>', page)
    plain = re.findall(r"<td>([+−][\d.]+|0\.0)<small>([^<]+)</small>", page)
    assert cells
    assert plain
    for _, _, ends in cells:
        low, high = (float(end.replace("−", "-")) for end in ends.split(", "))
        assert low * high >= 0  # an end may round to 0
    for ends in [ends for _, ends in plain if "," in ends]:
        low, high = (float(end.replace("−", "-")) for end in ends.split(", "))
        assert low <= 0 <= high


def test_the_papers_column_stands_where_the_paper_has_one(bare, page):
    measures = Reader(render([bare])).tables[0]
    assert measures[0][2][0].rstrip("\xa0↓↑") == "paper’s top-1"
    column = {row[0][0]: row[2] for row in measures[1:]}
    assert column["Global feedback"] == ["59.6"]
    assert column["Local feedback, box of 95 % of the energy"] == ["62.6"]
    assert column["Centre box"] == ["–"]
    assert "paper’s" not in "".join(cell[0] for cell in Reader(page).tables[0][0])


def test_rows_are_those_that_the_summary_counts(run):
    found = read_run(run)
    assert len(found.subjects) == IMAGES - TUNING == found.summary.images
    largest = (48 - 20) * (40 - 14) / (WIDTH * HEIGHT)
    assert found.size == pytest.approx(np.full(len(found.subjects), largest))
    assert sorted(found.objects.tolist()) == [1] * 7 + [2, 2, 3]
    for method in (*METHODS, "center_box"):
        error = found.summary.methods[method].score("gt_known_loc_error").value
        assert 1 - found.hits(method).mean() == pytest.approx(error)
        assert found.success[method][found.chosen[method]] == pytest.approx(1 - error)


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


def test_drawn_boxes_are_those_that_were_judged(run, bare):
    found = read_run(run)
    assert found.drawn_at["feedback"] != found.rule_of("feedback").threshold  # else this shows nothing
    with_maps, without = make_gallery(found, 100), make_gallery(read_run(bare), 100)
    for card in with_maps.cards:
        for view in card.views.values():
            assert not view.other_threshold
            assert iou(view.boxes, card.truths).max() == pytest.approx(view.iou, abs=0.03)  # maps in half precision
            assert view.hit == (view.iou >= 0.5)
            assert view.heat.startswith("data:image/png;base64,")
    assert with_maps.has_maps
    assert not with_maps.notes
    assert not without.has_maps
    assert all(view.other_threshold and view.heat is None for card in without.cards for view in card.views.values())
    assert "boxes at a threshold of 0.20" in without.notes[0]


def test_cards_without_the_data_set(run, tmp_path):
    manifest = json.loads((run / "manifest.json").read_text())
    found = read_run(run)
    other = manifest["run"] | {"data": {"fingerprint": "0" * 64}}
    for changed, said in (
        ({"about": manifest["about"] | {"root": str(tmp_path / "gone")}}, "gone does not exist"),
        ({"about": {}}, "does not tell where its images are"),
        ({"run": other}, "does not hold the images and boxes of the run"),
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


def test_plots_keep_their_letters_and_their_ids():
    bars = [Bar("a $x$ <b>", "#000000", 50.0, 40.0, 60.0, paper=55.0)]
    svg = bar_plot(bars, Axis("%", (0, 100)))
    assert re.search(r"<text[^>]*>a \$x\$ &lt;b&gt;</text>", svg)
    assert svg == bar_plot(bars, Axis("%", (0, 100)))
    other = bar_plot([replace(bars[0], value=51.0)], Axis("%", (0, 100)))
    ids, others = (re.findall(r' id="([^"]+)"', each) for each in (svg, other))
    assert len(set(ids)) == len(ids) > 0
    assert not set(ids) & set(others)
    assert set(re.findall(r'(?:url\(|href=")#([\w.-]+)', svg)) == set(ids)


@pytest.mark.parametrize("level", [48.0, 49.0, 50.0, 51.0, 52.0])
def test_a_label_covers_neither_the_level_nor_the_axis(level):
    points = [Point("a cheap method", "#000000", 0.1, 50.0, 45.0, 55.0), Point("", "#000000", 9.0, 70.0, 69.0, 71.0)]
    svg = cost_plot(points, "MaxBoxAcc", ("centre box", level))
    found = re.search(r'text-anchor: (\w+)"[^>]* y="([\d.]+)"[^>]*>a cheap method<', svg)
    assert found[1] == "start"  # on the left of its point the axis is near
    line = float(re.search(r'<path d="M [\d.]+ ([\d.]+)[^"]*"[^>]*stroke-dasharray', svg)[1])
    assert not float(found[2]) - 9 < line < float(found[2]) + 3


def test_labels_of_points_in_one_place_do_not_cover_each_other():
    points = [Point(f"method {number}", "#000000", 0.1, 50.0, 45.0, 55.0) for number in range(3)]
    svg = cost_plot(points, "MaxBoxAcc", ("centre box", 52.0))
    places = re.findall(r'translate\(([\d.]+) ([\d.]+)\)"?[^>]*>method \d', svg) or re.findall(
        r'x="([\d.]+)" y="([\d.]+)"[^>]*>method \d', svg
    )
    assert len(places) == 3
    for one, (x, y) in enumerate(places):
        for across, down in places[one + 1 :]:
            assert abs(float(x) - float(across)) > 5 or abs(float(y) - float(down)) >= 11


def luminance(shade):
    """Relative luminance, as WCAG 2.2 defines it."""
    shares = [int(shade[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_each_method_has_a_colour_that_can_be_read():
    methods = (*SALIENCY, "center_box")
    shades = {label_of(method).colour for method in methods}
    assert len(shades) == len(methods)
    assert min(1.05 / (luminance(shade) + 0.05) for shade in (*shades, label_of("my own").colour)) >= 4.5


@pytest.mark.parametrize(("number", "text"), [(1.26, "+1.3"), (-1.26, "−1.3"), (-0.01, "0.0"), (0.0, "0.0")])
def test_signs(number, text):
    assert signed(number, 1) == text


def test_several_runs_are_told_apart(data, tmp_path):
    page = render([make_run(tmp_path / name, data, methods=("gradient",)) for name in ("run", "again")])
    names = re.findall(r'<h2 id="name-\d">([^<]+)</h2>', page)
    assert names == ["squeezenet1_1 (run)", "squeezenet1_1 (again)"]
    assert "Localization error of all runs" in page
    assert page.count('class="gallery"') == 2


def test_with_guesses_the_error_of_the_known_class_is_left_out(data, tmp_path):
    page = render([make_run(tmp_path / "run", data, target="predicted", methods=("gradient",))])
    assert "Localization error, class known" not in page
    assert "Localization error, class predicted" in page
    assert "Global feedback against the others" not in page  # nor is there global feedback


def test_the_command(run, page, tmp_path):
    output = tmp_path / "pages" / "report.html"
    result = CliRunner().invoke(app, ["report", str(run), "--output", str(output)])
    assert (result.exit_code, result.stdout.strip()) == (0, str(output))
    assert output.read_text(encoding="utf-8") == page


def test_what_is_no_finished_run(run, tmp_path, data):
    with pytest.raises(RunError, match="holds no run"):
        write_report([tmp_path], tmp_path / "report.html")
    unfinished = make_run(tmp_path / "unfinished", data)
    (unfinished / "summary.json").unlink()
    with pytest.raises(RunError, match="is not finished"):
        write_report([run, unfinished], tmp_path / "report.html")
    assert not Path(tmp_path / "report.html").exists()
