"""Plots: letters stay letters, labels cover nothing, colours can be read."""

import re
from dataclasses import replace

import pytest

from looktwice.attention.methods import METHODS as SALIENCY
from looktwice.labels import label_of
from looktwice.report.plots import Axis, Bar, Point, bar_plot, cost_plot
from looktwice.report.wording import signed


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
