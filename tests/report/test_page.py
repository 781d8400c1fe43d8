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
from looktwice.report.measure_tables import (
    all_boxes_paired_tables,
    best_methods,
    headlines,
    measure_tables,
    paired_tables,
    too_few,
)
from looktwice.report.page import render, write_report
from looktwice.report.wording import signed, where_boxes_were_drawn
from looktwice.runs.summary import PairedDifferences, Score
from report_runs import EVIL, EVIL_FILE, HEIGHT, IMAGES, METHODS, TUNING, WIDTH, make_data, make_run


class Reader(HTMLParser):
    """The elements of a page with their attributes, the text of each script, the cells of each table.

    A cell is a list of its texts, without what is only there for screen readers; that is in ``unseen``.
    """

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self.tables, self.captions, self.unseen = [], [], [], [], []
        self._open = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self._open.append("unseen" if attributes.get("class") == "unseen" else tag)
        if tag == "script":
            self.scripts.append("")
        if tag == "table":
            self.tables.append([])
            self.captions.append("")
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append([])

    def handle_data(self, data):
        if "script" in self._open:
            self.scripts[-1] += data
        elif "caption" in self._open:
            self.captions[-1] += data
        elif "unseen" in self._open:
            self.unseen.append(data)
        elif {"th", "td"} & {*self._open} and data.strip():
            self.tables[-1][-1][-1].append(data.strip())

    def handle_endtag(self, tag):
        while self._open and self._open.pop() not in (tag, "unseen" if tag == "span" else tag):
            pass  # elements without an end

    def table(self, caption):
        """The heads of a table, and its rows by their first cell."""
        found = self.tables[self.captions.index(caption)]  # those of differences come later
        return [cell[0].rstrip("\xa0↓↑") for cell in found[0]], {row[0][0]: row[1:] for row in found[1:]}


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


CAPTIONS = (
    "Box and object",
    "Time",
    "Map and object",
    "Faithfulness: is the map what the network looks at?",
    "Best threshold for these very images: a bound, not a result",
)


def test_tables_hold_the_summary(many, many_page):
    """Every measure that the run has, once, under its whole name."""
    summary = json.loads((many / "summary.json").read_text())
    reader = Reader(many_page)
    assert tuple(reader.captions[:5]) == CAPTIONS
    known = [each for each in TABLED if summary["methods"]["gradient"][each.name]["value"] is not None]
    shown = [title for caption in CAPTIONS for title in reader.table(caption)[0][1:]]
    assert sorted(shown) == sorted([*(each.title for each in known), "Seconds per image"])
    for caption in CAPTIONS:
        heads, rows = reader.table(caption)
        assert heads[0] == "method"
        for measure in (each for each in known if each.title in heads):
            for method, name in (("feedback", "Local feedback"), ("center_box", "Centre box")):
                score = summary["methods"][method][measure.name]
                value, low, high = (f"{100 * score[part]:.1f}" for part in ("value", "low", "high"))
                assert rows[name][heads.index(measure.title) - 1] == [value, f"{low}–{high}"]
    assert reader.table("Map and object")[1]["Whole image"][0] == ["–"]  # it points nowhere
    assert reader.table("Time")[1]["Global feedback"] == [["0.30"]]
    assert reader.table("Time")[1]["Centre box"] == [["–"]]
    assert reader.captions[5:8] == [CAPTIONS[0], CAPTIONS[2], CAPTIONS[3]]
    assert [row[0][0] for row in reader.tables[5][1:]] == [
        f"Global feedback − {other}" for other in ("Gradient", "Local feedback", "Centre box", "Whole image")
    ]


def test_all_boxes_have_tables_of_their_own(many, many_page):
    summary = json.loads((many / "summary.json").read_text())
    reader = Reader(many_page)
    captions = ("Images with one object", "Images with several objects", "All images", "Number of boxes")
    assert tuple(reader.captions[8:12]) == captions
    names = ["Precision", "Recall", "F1", "Average precision"]
    for caption, ending in zip(captions, ("_one", "_several", "", None), strict=True):
        heads, rows = reader.table(caption)
        assert list(rows) == ["Gradient", "Local feedback", "Global feedback", "Centre box", "Whole image"]
        assert heads[1:] == (["Boxes an image", "Nested boxes"] if ending is None else names)
        kinds = ("boxes_per_image", "nested_boxes") if ending is None else ("precision", "recall", "f1", "ap50")
        for place, kind in enumerate(kinds):
            measure = MEASURES[kind if ending is None else f"box_{kind}{ending}"]
            score = summary["methods"]["global_feedback"][measure.name]
            numbers = [score[part] for part in ("value", "low", "high")]
            value, low, high = (f"{100 * each:.1f}" if measure.in_per_cent else f"{each:.2f}" for each in numbers)
            assert rows["Global feedback"][place] == [value, f"{low}–{high}"]
    assert sum(map(len, (reader.table(caption)[0][1:] for caption in captions))) == len(ALL_BOXES)
    assert reader.table("Number of boxes")[1]["Whole image"] == [["1.00", "1.00–1.00"], ["0.0", "0.0–0.0"]]
    (counted,) = (table for table, own in zip(reader.tables, reader.captions, strict=True) if own == captions[-1])
    assert not any("↓" in cell[0] or "↑" in cell[0] for cell in counted[0])  # neither more nor less is better
    differences = reader.tables[12]
    assert [cell[0].rstrip("\xa0↑") for cell in differences[0]] == [
        "method",
        *(f"{name} of all boxes, {of}" for of in ("images with one object", "images with several objects", "all images")
          for name in ("F1", "Average precision")),
    ]  # fmt: skip
    (pair,) = (each for each in summary["paired"] if {each["first"], each["second"]} == {"global_feedback", "gradient"})
    score = pair["differences"]["box_f1"]
    sign = 1 if pair["first"] == "global_feedback" else -1
    assert differences[1][0][0] == "Global feedback − Gradient"
    assert differences[1][5][0] == signed(100 * sign * score["value"], 1)


def test_every_head_is_explained_in_a_sentence(many_page):
    """The name opens a text that says what the measure is, and which way is better."""
    reader = Reader(many_page)
    pointed = [attributes["popovertarget"] for tag, attributes in reader.elements if "popovertarget" in attributes]
    texts = dict(
        re.findall(r'<div popover class="meaning" id="([^"]+)"><strong>[^<]+</strong> ([^<]+)</div>', many_page)
    )
    columns = [cell for table in reader.tables for cell in table[0] if cell != ["method"]]
    assert len(pointed) == len(columns) > 20
    assert set(pointed) <= set(texts)
    for text in texts.values():
        assert re.fullmatch(r"[A-Z].*\. ((Less|More) is better|Neither less nor more is better)\.", text)
    assert texts["meaning-0-deletion_auc"].endswith("Less is better.")
    assert texts["meaning-0-box_recall"].endswith("More is better.")


def test_names_stand_in_place_of_abbreviations(many_page, grid, boxless):
    for page in (many_page, render([grid]), render([boxless])):
        for abbreviation in ("GP", "FB", "GT-known", "MBA", "V2,", "AP50", "bbox", "AUC", "loc. error", "oracle"):
            text = re.sub(r"<(script|style|pre)\b.*?</\1>", "", page, flags=re.DOTALL)
            assert not re.search(rf"\b{re.escape(abbreviation)}(?!\w)", re.sub(r"<[^>]*>", " ", text)), abbreviation


def best_cells(page, caption):
    """The columns of a table in which each row is marked as the best."""
    table = re.search(rf"<caption>{re.escape(caption)}</caption>(.*?)</table>", page, re.DOTALL)[1]
    rows = re.findall(r'<th scope="row"[^>]*>([^<]+)</th>(.*?)</tr>', table)
    marked = {}
    for name, cells in rows:
        found = re.findall(r"<td(.*?)>(.*?)</td>", cells)
        marked[name] = [place for place, (kind, _) in enumerate(found) if "best" in kind]
        assert all(("best" in kind) == (", among the best" in text) for kind, text in found)
    return marked


def test_the_best_are_marked_whichever_way_is_better(many_page):
    faithful = best_cells(many_page, CAPTIONS[3])
    assert faithful["Whole image"] == [0, 1]  # the most insertion, and the least deletion
    assert not any(columns for name, columns in faithful.items() if name != "Whole image")
    assert not any(best_cells(many_page, "Time").values())  # times were not compared
    assert not any(best_cells(many_page, CAPTIONS[4]).values())  # bounds are no results
    assert not any(best_cells(many_page, "Number of boxes").values())


def test_what_cannot_be_told_from_the_best_is_marked_too(many, many_page):
    found = read_run(many)
    marked = best_cells(many_page, "Box and object")
    (place,) = (
        place
        for place, column in enumerate(measure_tables(found, ())[0].head)
        if column.measure == "gt_known_loc_error"
    )
    errors = {name: found.summary.methods[name].score("gt_known_loc_error") for name in found.names}
    first = min(errors, key=lambda name: errors[name].value)
    expected = {
        found.manifest.label_of(name).title
        for name, score in errors.items()
        if score.value == errors[first].value
        or not found.summary.difference(first, name)["gt_known_loc_error"].excludes_zero
    }
    assert {name for name, columns in marked.items() if place in columns} == expected
    assert 0 < len(expected) < len(errors)


def scored(run, measure, values, *, n=66, apart=True):
    """The run with these values of a measure; ``apart``: whether all of their differences exclude 0."""
    low, high = (-1e9, 1e9) if not apart else (None, None)
    methods = {
        name: replace(each, scores={**each.scores, measure: Score(values[name], values[name], values[name], n)})
        for name, each in run.summary.methods.items()
    }
    paired = tuple(
        PairedDifferences(one, other, {measure: Score(gap, gap if apart else low, gap if apart else high, n)})
        for one in values
        for other in values
        if one < other
        for gap in [values[one] - values[other]]
    )
    return replace(run, summary=replace(run.summary, methods=methods, paired=paired))


def test_ties_and_noise_and_few_images_in_the_marks(many):
    run = read_run(many)
    error, insertion = MEASURES["gt_known_loc_error"], MEASURES["insertion_auc"]
    values = dict(zip(run.names, (0.3, 0.2, 0.2, 0.5, 0.9), strict=True))
    assert best_methods(scored(run, error.name, values), error) == {"feedback", "global_feedback"}
    assert best_methods(scored(run, insertion.name, values), insertion) == {"full_image"}
    assert (
        best_methods(scored(run, error.name, values, apart=False), error) == frozenset()
    )  # none is shown to be better
    assert best_methods(scored(run, error.name, dict.fromkeys(values, 0.2)), error) == frozenset()
    assert best_methods(scored(run, error.name, values, n=49), error) == frozenset()
    assert best_methods(scored(run, error.name, values, n=50), error) == {"feedback", "global_feedback"}


def test_no_mark_without_a_comparison(many):
    run = read_run(many)
    error, time = MEASURES["gt_known_loc_error"], MEASURES["seconds_per_image"]
    values = dict(zip(run.names, (0.3, 0.2, 0.2, 0.5, 0.9), strict=True))
    told = scored(run, error.name, values)
    assert best_methods(told, error) == {"feedback", "global_feedback"}
    first, last = sorted(("feedback", run.names[-1]))
    lacking = tuple(
        replace(each, differences={}) if {each.first, each.second} == {first, last} else each
        for each in told.summary.paired
    )
    assert best_methods(replace(told, summary=replace(told.summary, paired=lacking)), error) == frozenset()
    assert best_methods(replace(told, summary=replace(told.summary, paired=())), error) == frozenset()
    timed = {name: run.summary.methods[name].score(time.name).value for name in run.methods}
    assert len(set(timed.values())) == len(timed)  # one is the fastest, but no interval tells it apart
    assert best_methods(run, time) == frozenset()


def with_images(run, count):
    return replace(run, summary=replace(run.summary, images=count, images_failed=0))


def test_under_fifty_images_no_method_is_called_better(run, page, many, many_page):
    said = "10 images are too few to compare methods; 50 or more are needed."
    assert page.count(said) == 1
    for verdict in ("is better</", "is worse", "better.</li>", "among the best", 'class="best"', "against the others"):
        assert verdict not in page.replace(", less is better</", "").replace(", more is better</", "")
    assert "too few" not in many_page
    assert "among the best" in many_page
    assert "Global feedback against the others" in many_page
    found = read_run(many)
    assert too_few(with_images(found, 49)) == said.replace("10", "49")
    assert too_few(with_images(found, 50)) == ""
    assert too_few(with_images(found, 1)) == "1 image is too few to compare methods; 50 or more are needed."
    failed = replace(found, summary=replace(found.summary, images=60, images_failed=11))
    assert too_few(failed) == said.replace("10", "49")
    for few in (with_images(found, 49), failed):
        assert (headlines(few), paired_tables(few), all_boxes_paired_tables(few)) == ([], (), ())
        assert not any(table.has_best for table in measure_tables(few, ()))
    assert headlines(found)
    assert paired_tables(found)


def test_a_grid_counts_the_images_of_its_squares(grid):
    assert "12 images are too few to compare methods" in render([grid])


def test_a_grid_has_its_share_and_a_gallery(grid):
    page = render([grid])
    reader = Reader(page)
    assert reader.captions[:2] == ["Time", "Map and object"]
    heads, rows = reader.table("Map and object")
    assert heads[1:] == ["Grid pointing game, share in the own quarter"]
    assert rows["Whole image"] == [["25.0", "25.0–25.0"]]
    assert page.count('class="gallery"') == 1
    assert "All 12 reported maps of squares." in page
    assert 'name="result"' not in page  # nothing is hit or missed
    assert "How tight the boxes are" not in page


def test_a_run_without_boxes_has_faithfulness_and_a_gallery(boxless):
    page = render([boxless])
    reader = Reader(page)
    assert reader.captions[:2] == ["Time", "Faithfulness: is the map what the network looks at?"]
    summary = json.loads((boxless / "summary.json").read_text())
    value = summary["methods"]["feedback"]["insertion_auc"]["value"]
    assert reader.table(reader.captions[1])[1]["Local feedback"][0][0] == f"{100 * value:.1f}"
    assert page.count("<figcaption>Insertion, area under the curve</figcaption>") == 1
    assert page.count('class="gallery"') == 1
    assert "no image has true boxes, so none was judged" in page
    for absent in ("Error by", "How tight the boxes are", "All boxes of an image", 'name="result"', "too few to judge"):
        assert absent not in page


def test_a_run_with_neither_boxes_nor_faithfulness_has_a_page(boxless, tmp_path):
    page = render([make_run(tmp_path / "run", boxless.parent / "data", maps=False)])
    assert Reader(page).captions == ["Time", ""]  # the last one is the large view's
    assert "Classification error (top-1) 20.0 %" in page  # the images 7 and 11 of ten
    assert 'name="order"' not in page
    assert page.count('class="gallery"') == 1


def test_runs_of_all_kinds_share_a_page(run, grid, boxless):
    page = render([run, grid, boxless])
    assert page.count('class="gallery"') == 3
    assert len(re.findall(r'id="meaning-2-insertion_auc"', page)) == 1


def test_doubts_stand_at_the_top_in_red(data, tmp_path, page):
    assert 'class="doubts"' not in page
    told = {"weights": "random", "doubts": ["the scores may be logits <or> not"]}
    doubted = make_run(tmp_path / "run", data, told=told)
    text = render([doubted])
    top = text[: text.index("<main>")]
    assert "squeezenet1_1: The network&#39;s weights are random: it has learned nothing" in top
    assert "squeezenet1_1: The scores may be logits &lt;or&gt; not." in top
    assert read_run(doubted).doubts == (
        "The network's weights are random: it has learned nothing, so its maps mean nothing.",
        "The scores may be logits <or> not.",
    )


def test_first_guesses_that_are_hardly_ever_right_are_doubted(tmp_path):
    images = make_data(tmp_path / "data", images=70)
    doubted = read_run(make_run(tmp_path / "wrong", images, right=lambda number: number % 4 == 0)).doubts
    assert len(doubted) == 1
    assert doubted[0].startswith("The network's first guess is wrong for 74% of the images (a blind guess: 67%)")
    assert read_run(make_run(tmp_path / "right", images)).doubts == ()


def test_boxes_of_another_threshold_than_the_chosen_one_are_said_to_be(data, run, page):
    summary = read_run(run).summary
    assert summary.drawn_at == {**dict.fromkeys((*METHODS, "center_box"), 0.2), "full_image": None}
    assert summary.drawn_elsewhere == [0.2]  # thresholds were chosen, others than the rule's own
    said = "All boxes were drawn at the box rule’s own threshold, 0.20, before thresholds were chosen."
    assert said in page
    assert where_boxes_were_drawn(summary).startswith(said)
    given = replace(summary, thresholds=dict.fromkeys(summary.thresholds, Thresholds(0.2)))
    assert where_boxes_were_drawn(given) == ""


def test_differences_are_global_feedback_less_the_other_whichever_came_first(many, many_page):
    summary = json.loads((many / "summary.json").read_text())
    paired = Reader(many_page).tables[5]
    column = [cell[0].rstrip("\xa0↓↑") for cell in paired[0]].index("Mean overlap (IoU)")
    rows = {row[0][0]: row[column] for row in paired[1:]}
    for method, name in (("gradient", "Gradient"), ("center_box", "Centre box")):
        ours, theirs = (summary["methods"][each]["mean_iou"]["value"] for each in ("global_feedback", method))
        assert rows[f"Global feedback − {name}"][0] == signed(100 * (ours - theirs), 1)
        low, high = (float(end.replace("−", "-")) for end in rows[f"Global feedback − {name}"][1].split(", "))
        assert low <= 100 * (ours - theirs) <= high


def test_only_what_excludes_nothing_is_bold(many_page):
    unseen = r'<span class="unseen">, Global feedback is \1</span>'
    cells = re.findall(rf'<td class="(better|worse)">([+−\d.]+){unseen}<small>([^<]+)</small>', many_page)
    section = many_page[many_page.index("against the others") : many_page.index("All boxes of an image")]
    plain = re.findall(r"<td>([+−][\d.]+|0\.0)<small>([^<]+)</small>", section)
    assert cells
    assert plain
    for _, _, ends in cells:
        low, high = (float(end.replace("−", "-")) for end in ends.split(", "))
        assert low * high >= 0  # an end may round to 0
    for ends in [ends for _, ends in plain if "," in ends]:
        low, high = (float(end.replace("−", "-")) for end in ends.split(", "))
        assert low <= 0 <= high


def test_no_number_of_fewer_than_fifty_images_is_bold(many, many_page):
    """Of 66 images only some have several objects."""
    found = read_run(many)
    few = found.summary.methods["feedback"].score("box_f1_several")
    assert few.n < 50 < found.summary.methods["feedback"].score("box_f1").n
    (table,) = all_boxes_paired_tables(found)
    places = {column.measure: place for place, column in enumerate(table.head)}
    assert not any(row.cells[places["box_f1_several"]].verdict for row in table.rows)
    assert any(row.cells[places["box_f1"]].verdict for row in table.rows)


def test_the_papers_column_stands_where_the_paper_has_one(bare, page):
    measures = Reader(render([bare])).tables[0]
    assert measures[0][2][0].rstrip("\xa0↓↑") == "The paper’s error, class predicted"
    column = {row[0][0]: row[2] for row in measures[1:]}
    assert column["Global feedback"] == ["59.6"]
    assert column["Local feedback, box of 95 % of the energy"] == ["62.6"]
    assert column["Centre box"] == ["–"]
    assert "paper’s" not in "".join(cell[0] for table in Reader(page).tables for row in table[:1] for cell in row)


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


def test_steps_and_trace_weight_are_told_because_runs_may_differ_in_them(data, tmp_path, page):
    assert "<dt>feedback</dt>" not in page  # the methods of this run have no options
    options = {"feedback": {"steps": 3, "trace_weight": 0.0}, "global_feedback": {"steps": 7, "trace_weight": 0.5}}
    text = render([make_run(tmp_path / "run", data, options=options)])
    told = "Local feedback: 3 steps, trace_weight 0; Global feedback: 7 steps, trace_weight 0.5"
    assert f"<dt>feedback</dt><dd>{told}</dd>" in text
