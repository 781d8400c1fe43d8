"""Pictures and text of a sheet at places worked out by hand."""

import numpy as np
import pytest

from looktwice.figures.frames import FOUND
from looktwice.figures.sheet import Cell, Row, Sheet, arrange, sheet_picture
from looktwice.figures.text import WARNING
from plain import ink, pixels, plain


def grid(cells, columns, rows):
    """Plain pictures in rows and columns."""
    made = [Row([Cell(cell) for cell in row], title) for row, title in zip(cells, rows, strict=True)]
    return sheet_picture(Sheet(columns, made))


def test_a_grid_keeps_every_cell_whole_in_its_column_and_row():
    colours = [[(250, 0, 0), (0, 250, 0)], [(0, 0, 250), (250, 250, 0)]]
    sizes = [[(200, 150), (200, 150)], [(120, 180), (90, 60)]]
    cells = [
        [plain(*size, colour) for size, colour in zip(*row, strict=True)] for row in zip(sizes, colours, strict=True)
    ]
    sheet = pixels(grid(cells, ["left", "right"], ["upper\nmore", "lower"]))
    found = [[np.nonzero((sheet == colour).all(axis=2)) for colour in row] for row in colours]
    spans = [[(x.min(), y.min(), x.max() + 1, y.max() + 1) for y, x in row] for row in found]
    assert [[(x2 - x1, y2 - y1) for x1, y1, x2, y2 in row] for row in spans] == sizes
    middles = np.array([[((x1 + x2) // 2, (y1 + y2) // 2) for x1, y1, x2, y2 in row] for row in spans])
    assert (middles[0, :, 0] == middles[1, :, 0]).all()
    assert (middles[:, 0, 1] == middles[:, 1, 1]).all()
    assert spans[0][0][2] < spans[0][1][0]
    assert spans[0][0][3] < spans[1][0][1]


def test_a_grid_titles_its_columns_above_and_its_rows_beside():
    cells = [[plain(200, 150)] * 2]
    bare, titled = (pixels(grid(cells, columns, rows)) for columns, rows in [(["", ""], [""]), (["a", ""], ["b"])])
    rows, columns = np.nonzero((bare != titled).any(axis=2))
    above, beside = rows < 30, columns < 30
    assert above.any()
    assert beside.any()
    assert (above | beside).all()
    assert (columns[above] < 230).all()  # over the first of two columns


def test_a_strip_still_has_room_for_its_title():
    sheet = grid([[plain(300, 2)]], ["input"], ["a title"])
    assert ink(sheet.crop((0, 30, 24, sheet.height)), (255, 255, 255)).any()
    assert sheet.height > 96


def test_a_heading_and_notes_make_room_for_themselves():
    def sheet(note, heading):
        return sheet_picture(Sheet(["a"], [Row([Cell(plain(200, 150), note=note)], "b")] * 2, heading))

    bare, noted, headed = (sheet(*texts).height for texts in [("", ""), ("note", ""), ("", "heading")])
    assert (noted - bare, headed - bare) == (2 * 24, 24)  # a line is one and a half times the 16 pixels of its text


def test_two_words_are_seen_to_be_two():
    sheet = sheet_picture(Sheet([""], [Row([Cell(plain(300, 20))], "")], "energy box"))
    gaps = np.diff(np.flatnonzero(ink(sheet.crop((0, 0, sheet.width, 24)), (255, 255, 255)).any(axis=0))) - 1
    assert gaps.max() >= 3 * np.sort(gaps)[-2]


def test_labels_lie_where_they_belong_and_nothing_overlaps():
    cells = [Cell(plain(200, 150), note="one"), Cell(plain(100, 150))]
    layout = arrange(Sheet(["left\nbelow", "right"], [Row(cells, "row\nmore")], "heading"))
    labels = {label.text: label for label in layout.labels}
    assert list(labels) == ["heading", "left", "below", "right", "one", "row", "more"]
    (_, left, top), (_, other, _) = layout.cells
    assert labels["left"].x == labels["below"].x == labels["one"].x == left + 100
    assert labels["right"].x == other + 50
    heights = [labels[text].y for text in ("heading", "left", "below")]
    assert np.diff(heights).tolist() == [24, 24]
    assert heights[-1] + 8 < top
    assert top + 150 < labels["one"].y < layout.height
    assert labels["row"].upright
    assert labels["row"].x < labels["more"].x < left
    assert labels["row"].y == top + 75


def test_a_cell_s_boxes_are_drawn_in_its_own_pixels():
    layout = arrange(Sheet(["a"], [Row([Cell(plain(100, 120), ((10, 20, 60, 90),))], "b")]))
    (cell, left, top), *_ = layout.cells
    drawn = pixels(sheet_picture(Sheet(["a"], [Row([cell], "b")])).crop((left, top, left + 100, top + 120)))
    rows, columns = np.nonzero((drawn == FOUND).all(axis=2))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (10, 20, 60, 90)


def test_warnings_stand_in_red_below_their_row_and_the_legend_below_everything():
    cells = [Cell(plain(200, 150), ((10, 10, 90, 90),)), Cell(plain(200, 150))]
    warning = "The network is not sure: nematode is most probable, with 2.1 %."
    bare, told = (arrange(Sheet(["a", "b"], [Row(cells, "c", given)] * 2)) for given in ((), (warning,)))
    lines = [label for label in told.labels if label.colour == WARNING]
    assert " ".join(label.text for label in lines) == f"{warning} {warning}"
    assert told.height - bare.height == 24 * len(lines)
    (_, left, first), _, (_, _, second), _ = told.cells
    upper = lines[: len(lines) // 2]
    assert all(first + 150 <= label.y - 12 < label.y + 12 < second for label in upper)
    assert {label.x for label in lines} == {left + 200 + 4}
    assert told.legend_at[1] > second + 150
    assert told.legend_at[0] + told.legend.width <= told.width
    assert told.legend_at[1] + told.legend.height <= told.height


@pytest.mark.parametrize("boxes", [(), ((10, 10, 90, 90),)])
def test_the_legend_explains_frames_only_where_there_are_some(boxes):
    layout = arrange(Sheet(["a"], [Row([Cell(plain(400, 150), boxes)], "b")]))
    assert [label.text for label in layout.legend.labels] == ["attention: low", "high", *["box found"] * len(boxes)]
    assert (layout.legend.sample is not None) == bool(boxes)


def test_a_narrow_sheet_is_wide_enough_for_its_legend():
    layout = arrange(Sheet(["a"], [Row([Cell(plain(60, 40), ((1, 1, 9, 9),))], "b")]))
    assert layout.legend_at[0] >= 0
    assert layout.legend_at[0] + layout.legend.width <= layout.width
