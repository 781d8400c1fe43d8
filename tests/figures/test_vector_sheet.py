"""SVG and PDF read back: pictures, boxes and text at places worked out by hand."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from looktwice.figures.sheet import Cell, Row, Sheet, arrange
from looktwice.figures.vector_sheet import vector_sheet
from noise import noise

pytest.importorskip("matplotlib")

SVG = "{http://www.w3.org/2000/svg}"
POINTS = 72 / 300


@pytest.fixture
def sheet():
    cells = [Cell(noise(300, 200)), Cell(noise(300, 200, 1), ((30, 20, 130, 120), (200, 0, 300, 200)), "a note")]
    return Sheet(["left", "right"], [Row(cells, "beside")])


def svg(sheet):
    return ElementTree.fromstring(vector_sheet(sheet, "svg"))


def texts(sheet):
    return [element.text for element in svg(sheet).iter(f"{SVG}text")]


def test_pictures_are_embedded_pixel_for_pixel(sheet):
    images = list(svg(sheet).iter(f"{SVG}image"))
    assert len(images) == 2
    for element, cell in zip(images, sheet.rows[0].cells, strict=True):
        data = element.get("{http://www.w3.org/1999/xlink}href").partition("base64,")[2]
        embedded = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        upright = np.asarray(cell.picture)
        turned = "scale(1 -1)" in (element.get("transform") or "")
        assert (embedded == (upright[::-1] if turned else upright)).all()


def test_letters_are_letters(sheet):
    assert texts(sheet) == ["left", "right", "a note", "beside"]
    assert b"DejaVuSans" in vector_sheet(sheet, "pdf")


def test_boxes_are_lines_inside_their_pixels(sheet):
    _, (_, left, top) = arrange(sheet, text_size=32).cells
    lines = [element for element in svg(sheet).iter(f"{SVG}path") if "stroke: #ffffff" in element.get("style", "")]
    assert len(lines) == 2
    for element, (x1, y1, x2, y2) in zip(lines, sheet.rows[0].cells[1].boxes, strict=True):
        points = np.array(re.findall(r"[-\d.]+", element.get("d")), float).reshape(-1, 2)
        corners = np.array([[left + x1, top + y1], [left + x2, top + y2]]) * POINTS
        half = 0.5  # of a line of one point
        np.testing.assert_allclose(points.min(0), corners[0] + half, atol=1e-3)
        np.testing.assert_allclose(points.max(0), corners[1] - half, atol=1e-3)


def test_the_page_is_as_large_as_the_sheet(sheet):
    layout = arrange(sheet, text_size=32)
    size = [layout.width * POINTS, layout.height * POINTS]
    box = [float(part) for part in svg(sheet).get("viewBox").split()]
    assert box[2:] == pytest.approx(size, abs=0.01)
    page = re.search(rb"/MediaBox \[ ?([\d. ]+)\]", vector_sheet(sheet, "pdf"))[1].split()
    assert [float(part) for part in page[2:]] == pytest.approx(size, abs=0.01)


@pytest.mark.parametrize("form", ["svg", "pdf"])
def test_the_same_sheet_gives_the_same_file(sheet, form):
    assert vector_sheet(sheet, form) == vector_sheet(sheet, form)


@pytest.mark.parametrize("form", ["svg", "pdf"])
def test_any_file_name_can_be_a_title(form, recwarn):
    title = "$x_1$ & <b> 猫 \udc80 \x01\n50 % $"
    sheet = Sheet([""], [Row([Cell(noise(900, 900))], title)])
    assert vector_sheet(sheet, form)
    assert not recwarn.list
    if form == "svg":
        assert texts(sheet) == ["$x_1$ & <b> 猫 ? ?", "50 % $"]


def test_a_line_too_long_for_its_picture_is_cut():
    (text,) = texts(Sheet([""], [Row([Cell(noise(200, 200), note="of many words " * 9)], "")]))
    assert text.endswith("…")
    assert 8 < len(text) < 30


def test_the_user_s_own_style_changes_nothing(sheet):
    import matplotlib

    before = vector_sheet(sheet, "svg")
    with matplotlib.rc_context({"font.size": 40, "savefig.bbox": "tight", "image.origin": "lower", "axes.grid": True}):
        assert vector_sheet(sheet, "svg") == before
