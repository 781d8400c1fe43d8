"""What is drawn where: colours, boxes and text at places worked out by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from looktwice.figures.overlay import FOUND, caption, draw_boxes, heat_alone, overlay, scaled
from looktwice.figures.sheet import Cell, Row, Sheet, arrange, sheet_picture
from looktwice.images import Window

GREY = (100, 100, 100)
MAGENTA = (255, 64, 255)
HOTTEST = tuple(int(v) for v in cv2.applyColorMap(np.array([[255]], np.uint8), cv2.COLORMAP_TURBO)[0, 0, ::-1])


def plain(width, height, colour=GREY):
    return Image.new("RGB", (width, height), colour)


def pixels(picture):
    return np.asarray(picture).astype(int)


def ink(picture, colour=GREY):
    """Which pixels are not of the plain colour."""
    return (pixels(picture) != colour).any(axis=2)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((4000, 3000), (1024, 768)),
        ((640, 427), (640, 427)),
        ((100, 200), (256, 512)),
        ((1, 1), (512, 512)),
        ((10_000, 50), (4096, 20)),  # 64 pixels high it would be 12,800 wide
        ((1000, 20), (3200, 64)),
        ((1, 60_000), (1, 4096)),
    ],
)
def test_an_image_is_scaled_to_be_looked_at(size, shown):
    assert scaled(plain(*size)).size == shown


def test_a_thumbnail_has_exactly_the_side_asked_for():
    assert [max(scaled(plain(*size), 90, smallest=90, strip=0).size) for size in [(900, 3), (3, 3), (60, 80)]] == [
        90
    ] * 3


def test_cold_parts_stay_as_they_are_and_hot_ones_take_the_colour():
    heat = np.zeros((2, 2), np.float32)
    heat[:, 1] = 1
    drawn = pixels(overlay(plain(80, 40), heat, Window.whole(80, 40), alpha=1.0))
    # The centres of the map's columns lie at x = 20 and x = 60 of the picture; between them the heat rises.
    assert (drawn[:, :20] == GREY).all()
    assert (drawn[:, 60:] == HOTTEST).all()
    assert (np.diff(np.abs(drawn[0, 20:60] - GREY).sum(1)[[0, 12, 39]]) > 0).all()


def test_the_picture_shows_through_by_the_opacity_asked_for():
    drawn = pixels(overlay(plain(8, 8), np.ones((4, 4)), Window.whole(8, 8), alpha=0.25))
    np.testing.assert_allclose(drawn[3, 3], 0.75 * np.array(GREY) + 0.25 * np.array(HOTTEST), atol=0.51)


def test_a_crop_is_coloured_where_it_was_cut_and_dimmed_around_it():
    window = Window(10, 5, 30, 25, 40, 30)
    drawn = pixels(overlay(plain(80, 60), np.ones((7, 7)), window, alpha=1.0))
    inside = np.zeros((60, 80), bool)
    inside[10:50, 20:60] = True  # the picture is twice the image
    assert (drawn[inside] == HOTTEST).all()
    assert (drawn[~inside] == 55).all()


def test_a_map_lies_where_its_window_is_also_beyond_the_image():
    # A 20 × 10 image, padded to 20 × 20: the map's rows 0 and 3 are padding, rows 1 and 2 the image.
    heat = np.zeros((4, 4), np.float32)
    heat[1:3, 1:3] = 1
    drawn = heat_alone(heat, (200, 100), Window(0, -5, 20, 15, 20, 10))
    rows, columns = np.nonzero((pixels(drawn) == HOTTEST).all(axis=2))
    # The hot pixels' centres lie at 3/8 and 5/8 of the window: of 200 columns, and of the rows from -50 to 150.
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (75, 125, 25, 75)
    assert len(rows) == 50 * 50


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
def test_any_picture_takes_any_map(width, height, columns, rows):
    heat = np.linspace(0, 1, rows * columns).reshape(rows, columns)
    assert overlay(plain(width, height), heat, Window.whole(width, height)).size == (width, height)


def test_a_box_covers_its_half_open_pixels_with_a_dark_edge_outside():
    picture = plain(100, 60)
    drawn = pixels(draw_boxes(picture, [(10, 20, 30, 40)], Window.whole(100, 60)))
    # A line of one pixel within columns 10 … 29 and rows 20 … 39, dark at 9 and 30 and just inside it.
    coloured = (drawn == FOUND).all(axis=2)
    assert [coloured[20, 10], coloured[39, 29], coloured[30, 10], coloured[20, 15]] == [True] * 4
    assert coloured.sum() == 2 * 20 + 2 * 18
    assert (drawn[30, [9, 30, 11, 28]] == 0).all()
    assert (drawn[30, [8, 31, 12, 27]] == GREY).all()
    assert not ink(picture).any()


def test_boxes_scale_with_the_picture_and_take_other_colours():
    drawn = pixels(draw_boxes(plain(100, 60), [(10, 5, 20, 15)], Window.whole(50, 30), colour=MAGENTA))
    rows, columns = np.nonzero((drawn == MAGENTA).all(axis=2))
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (20, 10, 39, 29)


def test_a_box_around_the_whole_image_is_seen():
    drawn = pixels(draw_boxes(plain(50, 50), [(0, 0, 50, 50)], Window.whole(50, 50)))
    assert (drawn[0] == FOUND).all()
    assert (drawn[:, 49] == FOUND).all()


def test_lines_grow_with_the_picture():
    thickness = []
    for side in (100, 500, 1024, 4000):
        drawn = pixels(draw_boxes(plain(side, side), [(0, 0, side, side)], Window.whole(side, side)))
        thickness.append(int((drawn[side // 2, : side // 2] == FOUND).all(axis=1).sum()))
    assert thickness == [1, 3, 6, 6]


def test_a_caption_leaves_the_picture_alone_and_stays_on_its_strip():
    picture = plain(500, 200)
    drawn = caption(picture, ["a class · 12.3%", "details " * 40])
    assert drawn.width == 500
    assert not ink(drawn.crop((0, 0, 500, 200))).any()
    text = ink(drawn.crop((0, 200, 500, drawn.height)), (255, 255, 255))
    assert text.any()
    assert not text[:, -6:].any()
    assert not text[-3:].any()


def test_a_narrow_picture_is_centred_over_its_caption():
    drawn = caption(plain(20, 50), ["a class"], least_width=300)
    assert drawn.width == 300
    _, columns = np.nonzero(ink(drawn.crop((0, 0, 300, 50)), (255, 255, 255)))
    assert (columns.min(), columns.max()) == (140, 159)


def test_letters_that_the_font_lacks_are_replaced():
    assert caption(plain(200, 20), ["café"]).tobytes() == caption(plain(200, 20), ["cafe"]).tobytes()
    assert caption(plain(200, 20), ["猫 \udc80"]).tobytes() == caption(plain(200, 20), ["? ?"]).tobytes()


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
