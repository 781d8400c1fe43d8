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
LEGEND = ["attention: low", "high"]


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
    assert len(images) == 4  # and two of the legend
    for element, cell in zip(images[:2], sheet.rows[0].cells, strict=True):
        data = element.get("{http://www.w3.org/1999/xlink}href").partition("base64,")[2]
        embedded = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        upright = np.asarray(cell.picture)
        turned = "scale(1 -1)" in (element.get("transform") or "")
        assert (embedded == (upright[::-1] if turned else upright)).all()


def test_letters_are_letters(sheet):
    assert texts(sheet) == ["left", "right", "a note", "beside", *LEGEND, "box found"]
    assert b"DejaVuSans" in vector_sheet(sheet, "pdf")


def outlines(sheet, colour):
    """Of every line of a colour: its corners (2, 2), in points, and its width."""
    found = []
    for element in svg(sheet).iter(f"{SVG}path"):
        style = element.get("style", "")
        if f"stroke: {colour}" in style:
            points = np.array(re.findall(r"[-\d.]+", element.get("d")), float).reshape(-1, 2)
            width = re.search(r"stroke-width: ([\d.]+)", style)
            found.append((np.array([points.min(0), points.max(0)]), float(width[1]) if width else 1.0))
    return found


def test_boxes_are_lines_inside_their_pixels(sheet):
    _, (_, left, top) = arrange(sheet, text_size=32).cells
    (corners, width), (touching, _), _ = outlines(sheet, "#ffffff")  # the last is the legend's
    assert width == 1
    wanted = np.array([[left + 30, top + 20], [left + 130, top + 120]]) * POINTS
    np.testing.assert_allclose(corners, wanted + np.array([[0.5], [-0.5]]), atol=1e-3)
    # This one touches all sides of the picture but the left: there it makes room for its dark edge.
    wanted = np.array([[left + 200, top], [left + 300, top + 200]]) * POINTS
    edge = np.array([[0, 1], [-1, -1]]) / 3
    np.testing.assert_allclose(touching, wanted + edge + np.array([[0.5], [-0.5]]), atol=1e-3)


@pytest.mark.parametrize(
    "box",
    [(0, 0, 300, 200), (0, 0, 5, 5), (299, 199, 300, 200), (0, 80, 100, 81), (120, 0, 180, 9), (-9, -9, 400, 400)],
)
def test_a_line_and_its_dark_edges_lie_inside_the_picture(box):
    sheet = Sheet([""], [Row([Cell(noise(300, 200), (box,))], "")])
    ((_, left, top),) = arrange(sheet, text_size=32).cells
    first, last = np.array([[left, top], [left + 300, top + 200]]) * POINTS
    (light, thin), _ = outlines(sheet, "#ffffff")
    (dark, wide), _ = outlines(sheet, "#000000")
    np.testing.assert_allclose(light, dark, atol=1e-6)
    assert wide == pytest.approx(thin + 2 / 3, abs=1e-3)
    assert (dark[0] - wide / 2 >= first - 1e-3).all()
    assert (dark[1] + wide / 2 <= last + 1e-3).all()
    assert thin > 0.2


def test_warnings_are_red_and_whole():
    warning = "shark is improbable (0.5 %): the network predicts cup (90 %). The map shows what would speak for shark."
    sheet = Sheet(["", ""], [Row([Cell(noise(540, 300))] * 2, "", (warning,))])
    red = [element.text for element in svg(sheet).iter(f"{SVG}text") if "#b41414" in element.get("style", "")]
    assert " ".join(red) == warning


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
        assert texts(sheet) == ["$x_1$ & <b> 猫 ? ?", "50 % $", *LEGEND]


def test_a_line_too_long_for_its_picture_is_cut():
    text, *others = texts(Sheet([""], [Row([Cell(noise(200, 200), note="of many words " * 9)], "")]))
    assert others == LEGEND
    assert text.endswith("…")
    assert 8 < len(text) < 30


def test_the_user_s_own_style_changes_nothing(sheet):
    import matplotlib

    before = vector_sheet(sheet, "svg")
    with matplotlib.rc_context({"font.size": 40, "savefig.bbox": "tight", "image.origin": "lower", "axes.grid": True}):
        assert vector_sheet(sheet, "svg") == before
