"""Numbers → small plots as inline SVG, with letters as text.

A plot of many methods is a row of panels. Each panel shows one method in colour, and all others in grey behind it. So
no reader needs a legend, and a page can break the row where the screen ends.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from looktwice.errors import MissingExtraError
from looktwice.metrics.intervals import bootstrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_INK, _QUIET, _OTHERS = "#1f2430", "#6b7280", "#d7dae0"


_MARKS: Mapping[str, Mapping[str, Any]] = {
    "D": {"markerfacecolor": "white", "markersize": 7},
    "o": {"markersize": 5},  # small enough to be seen on top of the other one
}


_STYLE: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "looktwice",
    "text.parse_math": False,  # a "$" in a name is a "$"
    "font.family": "DejaVu Sans",  # widths are measured with it; the page sets its own font
    "font.size": 11.5,
    "axes.edgecolor": _QUIET,
    "axes.labelcolor": _QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
}


@dataclass(frozen=True)
class Bar:
    """A number with its interval in per cent, and the paper's number, if there is one."""

    label: str
    colour: str
    value: float
    low: float
    high: float
    paper: float | None = None


@dataclass(frozen=True)
class Line:
    """A method's line: y in per cent over x.

    ``low`` and ``high`` are the intervals, if there are any. ``marks`` are points by their marker, the last on top.
    """

    label: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    marks: Mapping[str, tuple[float, float]] | None = None
    note: str = ""


@dataclass(frozen=True)
class Point:
    """A method by its cost in seconds and its value in per cent, with an interval."""

    label: str
    colour: str
    seconds: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Axis:
    """An axis: its name, its ends, and its ticks with their texts, if they are not plain numbers."""

    name: str
    ends: tuple[float, float]
    ticks: Mapping[float, str] | None = None


def interval_in_per_cent(values: NDArray[Any]) -> tuple[float, float, float]:
    """The mean of shares (N,) and its bootstrap 95 % interval, in per cent."""
    found = bootstrap(np.asarray(values, dtype=np.float64))
    return 100 * found.value, 100 * found.low, 100 * found.high


def bar_plot(bars: Sequence[Bar], axis: Axis) -> str:
    """Methods below each other: each a point with its interval and its number; a diamond is the paper's number."""
    with _figure(390, 46 + 24 * len(bars)) as (figure, axes):
        for row, bar in enumerate(bars):
            axes.plot([bar.low, bar.high], [row, row], color=bar.colour, linewidth=2, solid_capstyle="butt")
            axes.plot(bar.value, row, "o", color=bar.colour, markersize=6)
            if bar.paper is not None:
                axes.plot(bar.paper, row, "D", markerfacecolor="white", markeredgecolor=_INK, markersize=5)
            axes.text(1.02, row, f"{bar.value:.1f}", transform=axes.get_yaxis_transform(), va="center")
        axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
        for label, bar in zip(axes.get_yticklabels(), bars, strict=True):
            label.set(color=bar.colour, fontsize=11)
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=_OTHERS, linewidth=0.6)
        axes.set_axisbelow(True)
        _set_x(axes, axis)
        return _as_svg(figure)


def panels(lines: Sequence[Line], x: Axis, y: Axis) -> list[str]:
    """A plot for each line, that line in colour and the others in grey behind it."""
    return [_panel(lines, number, x, y) for number in range(len(lines))]


def _panel(lines: Sequence[Line], number: int, x: Axis, y: Axis) -> str:
    with _figure(215, 180) as (figure, axes):
        for other in lines:
            axes.plot(other.x, other.y, color=_OTHERS, linewidth=1)
        line = lines[number]
        dotted = line.low is not None
        axes.plot(
            line.x, line.y, color=line.colour, linewidth=2, marker="o" if dotted else "", markersize=4, clip_on=False
        )
        if line.low is not None and line.high is not None:
            axes.vlines(line.x, line.low, line.high, color=line.colour, linewidth=1.2, clip_on=False)
        for marker, (across, up) in (line.marks or {}).items():
            axes.plot(across, up, marker, color=line.colour, zorder=5, clip_on=False, **_MARKS[marker])
        title = f"{line.label}\n" if line.note else line.label
        axes.set_title(title, loc="left", color=line.colour, fontsize=11, fontweight="bold", pad=6)
        axes.text(0, 1.035, line.note, transform=axes.transAxes, fontsize=9.5, color=_QUIET, va="bottom")
        axes.set_ylim(*y.ends)
        if y.ticks is not None:
            axes.set_yticks(list(y.ticks), list(y.ticks.values()))
        axes.grid(axis="y", color="#eceef1", linewidth=0.6)
        axes.set_axisbelow(True)
        _set_x(axes, x)
        return _as_svg(figure)


def cost_plot(points: Sequence[Point], value_name: str, level: tuple[str, float] | None) -> str:
    """Values against seconds per image (logarithmic), as labelled points.

    ``level`` is the label and the value of a baseline that costs nothing: a dashed line.
    """
    values = [end for point in points for end in (point.low, point.high)] + ([level[1]] if level else [])
    margin = max(2.0, 0.12 * (max(values) - min(values)))
    seconds = [point.seconds for point in points]
    with _figure(430, 290) as (figure, axes):
        axes.set_xscale("log")
        axes.set_xlim(min(seconds) / 1.5, max(seconds) * 2.2)
        axes.set_ylim(min(values) - margin, max(values) + margin)
        for point in points:
            axes.vlines(point.seconds, point.low, point.high, color=point.colour, linewidth=1, alpha=0.45)
            axes.plot(point.seconds, point.value, "o", color=point.colour, markersize=7)
        axes.set_ylabel(fill(value_name, 36))
        ticks = [tick for tick in _ROUND_SECONDS if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("seconds per image")
        axes.grid(color="#eceef1", linewidth=0.6)
        axes.set_axisbelow(True)
        figure.draw_without_rendering()  # now everything has its place
        _label_points(axes, points, _draw_level(axes, *level) if level else [])
        return _as_svg(figure)


_ROUND_SECONDS = tuple(step * 10.0**power for power in range(-5, 5) for step in (1, 2, 5))


_Area = tuple[float, float, float, float]
"""(left, bottom, right, top) in pixels, upwards."""


def _draw_level(axes: "Axes", label: str, value: float) -> list[_Area]:
    """Draws a dashed line with its label over its right end, and returns the areas of both."""
    line = axes.axhline(value, color=_QUIET, linewidth=1, linestyle=(0, (4, 3)))
    place = axes.get_yaxis_transform()
    text = axes.text(0.995, value, f"{label} {value:.1f}", transform=place, ha="right", va="bottom")
    return [part.get_window_extent().padded(1).extents for part in (line, text)]


def _label_points(axes: "Axes", points: Sequence[Point], taken: Sequence[_Area]) -> None:
    """Labels each point where the label covers nothing and stays within the axes, as near to the point as possible."""
    taken = [*taken, *_beside_axes(axes), *_point_areas(axes, points)]
    for point, (x, y) in zip(points, _centres(axes, points), strict=True):
        spots = _spots(x, y, width=6.6 * len(point.label))
        (across, up), area = min(
            spots, key=lambda spot: 2 * abs(spot[0][1]) + sum(_overlap(spot[1], other) for other in taken)
        )
        taken.append(area)
        axes.annotate(
            point.label,
            (point.seconds, point.value),
            xytext=(across, up),
            textcoords="offset pixels",
            color=point.colour,
            ha="left" if across > 0 else "right",
            va="center",
        )


def _centres(axes: "Axes", points: Sequence[Point]) -> Any:
    """Where the points are, in pixels (P, 2)."""
    return axes.transData.transform([(point.seconds, point.value) for point in points])


def _beside_axes(axes: "Axes") -> list[_Area]:
    """The four areas outside the axes."""
    left, bottom, right, top = axes.get_window_extent().extents
    far = 1e4
    return [
        (-far, -far, left + 3, far),
        (right, -far, far, far),
        (-far, -far, far, bottom + 3),
        (-far, top, far, far),
    ]


def _point_areas(axes: "Axes", points: Sequence[Point]) -> list[_Area]:
    """The areas of all points and of their intervals."""
    ends = axes.transData.transform([(point.seconds, end) for point in points for end in (point.low, point.high)])
    areas: list[_Area] = []
    for (x, y), (_, low), (_, high) in zip(_centres(axes, points), ends[::2], ends[1::2], strict=True):
        areas += [(x - 6, y - 6, x + 6, y + 6), (x - 1, low, x + 1, high)]
    return areas


def _spots(x: float, y: float, *, width: float) -> list[tuple[tuple[int, int], _Area]]:
    """The places of a label of that width beside a point: offsets (across, up), and the label's area there."""
    spots = []
    for step in (0, 1, -1, 2, -2, 3, -3, 4, -4):
        for across in (9, -9):
            left, middle = x + across - (width if across < 0 else 0), y + 14 * step
            spots.append(((across, 14 * step), (left, middle - 6, left + width, middle + 6)))
    return spots


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0.0) * max(down, 0.0)


@contextmanager
def _figure(width: int, height: int) -> Iterator[tuple["Figure", "Axes"]]:
    """A figure of that size in pixels, in the style of all plots."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the report's plots need matplotlib: pip install 'looktwice[report]'") from error
    with rc_context(dict(_STYLE)):  # type: ignore[arg-type]
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        yield figure, figure.subplots()


def _set_x(axes: "Axes", axis: Axis) -> None:
    axes.set_xlim(*axis.ends)
    axes.set_xlabel(axis.name)
    if axis.ticks is not None:
        axes.set_xticks(list(axis.ticks), list(axis.ticks.values()))


def _as_svg(figure: "Figure") -> str:
    """The drawing as an SVG element: without prolog and metadata, rounded to hundredths of a pixel.

    Only ids that are used stay, and each begins with a hash, so that no two drawings of a page share one.
    """
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)  # the page sets the size
    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    used = set(re.findall(r"#([\w.-]+)", svg))
    own = hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r' id="([\w.-]+)"', lambda found: f' id="{own}-{found[1]}"' if found[1] in used else "", svg)
    return re.sub(r'(href="|url\()#', rf"\1#{own}-", svg)
