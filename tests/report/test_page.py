"""The page of finished runs: what is told is what was measured, and nothing in it can run or reach out."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from looktwice.cli import app
from looktwice.errors import RunError
from looktwice.metrics.judged_maps import Thresholds
from looktwice.metrics.measures import ALL_BOXES, MEASURES, TABLED
from looktwice.report.finished_run import read_run
from looktwice.report.page import render, write_report
from looktwice.report.wording import signed, where_boxes_were_drawn
from report_runs import EVIL, EVIL_FILE, HEIGHT, IMAGES, METHODS, TUNING, WIDTH, make_run


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
    measures, paired, *_ = Reader(page).tables
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


def test_all_boxes_have_tables_of_their_own(run, page):
    summary = json.loads((run / "summary.json").read_text())
    _, _, table, differences = Reader(page).tables
    assert [cell[0].rstrip("\xa0") for cell in table[0]] == ["method", *(each.short_title for each in ALL_BOXES)]
    arrows = {cell[0].rstrip("\xa0"): cell[1:] for cell in table[0]}
    by_method = {row[0][0]: row[1:] for row in table[1:]}
    assert list(by_method) == ["Gradient", "Local feedback", "Global feedback", "Centre box", "Whole image"]
    for place, measure in enumerate(ALL_BOXES):
        score = summary["methods"]["global_feedback"][measure.name]
        numbers = [score[part] for part in ("value", "low", "high")]
        value, low, high = (f"{100 * each:.1f}" if measure.in_per_cent else f"{each:.2f}" for each in numbers)
        assert by_method["Global feedback"][place] == [value, f"{low}–{high}"]
        told = measure.name in ("boxes_per_image", "nested_boxes")  # neither more nor less is better
        assert not told or arrows[measure.short_title] == []
    assert by_method["Whole image"][-2:] == [["1.00", "1.00–1.00"], ["0.0", "0.0–0.0"]]
    assert [cell[0].rstrip("\xa0↑") for cell in differences[0]] == [
        "method", "F1, one", "AP50, one", "F1, several", "AP50, several", "F1", "AP50",
    ]  # fmt: skip
    (pair,) = (each for each in summary["paired"] if {each["first"], each["second"]} == {"global_feedback", "gradient"})
    score = pair["differences"]["box_f1"]
    sign = 1 if pair["first"] == "global_feedback" else -1
    assert differences[1][0][0] == "Global feedback − Gradient"
    assert differences[1][5][0] == signed(100 * sign * score["value"], 1)


def test_boxes_of_another_threshold_than_the_chosen_one_are_said_to_be(data, run, page):
    summary = read_run(run).summary
    assert summary.drawn_at == {**dict.fromkeys((*METHODS, "center_box"), 0.2), "full_image": None}
    assert summary.drawn_elsewhere == [0.2]  # thresholds were chosen, others than the rule's own
    said = "All boxes were drawn at the box rule’s own threshold, 0.20, before thresholds were chosen."
    assert said in page
    assert where_boxes_were_drawn(summary).startswith(said)
    given = replace(summary, thresholds=dict.fromkeys(summary.thresholds, Thresholds(0.2)))
    assert where_boxes_were_drawn(given) == ""


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
