"""Explanations of one image → the rows of a comparison that show it."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from PIL import Image

from looktwice.defaults import DEFAULT_THRESHOLDS
from looktwice.errors import InputError
from looktwice.explain.explanation import Explanation, shown_doubts
from looktwice.figures.overlay import heat_alone, overlay, scaled
from looktwice.figures.sheet import Cell, Row
from looktwice.images import Window
from looktwice.localization.boxes import Box, BoxRule, locate

Table = Sequence[Sequence[Explanation]]
"""Explanations of one image: for each network with its method, one for each class."""


def figure_rows(
    figure: str,
    table: Table,
    *,
    targets: Sequence[int | None],
    rule: BoxRule | None = None,
    side: int,
    with_scores: bool,
) -> list[Row]:
    """The rows of a figure that show one image.

    Args:
        figure: a name of ``comparison.FIGURES``.
        table: the explanations to show.
        targets: the classes that the user named, as ``Comparison`` has them.
        rule: how boxes are drawn on the maps, as ``Comparison`` has it.
        side: the longer side of each picture, in pixels.
        with_scores: whether the class score is written below each map.

    Raises:
        InputError: the network's numbers for this image cannot be used, or no gate has a place in it.
    """
    image = table[0][0].image
    picture = scaled(image.picture, side, smallest=side, strip=0)
    stem = image.path.stem
    if figure in _PARTS:
        parts = _PARTS[figure]
        return [
            Row(
                [Cell(picture), *parts(picture, each, rule)],
                f"{stem}\n{each.method.label.title}\n{each.class_title}",
                each.doubts,
            )
            for by_class in table
            for each in by_class
        ]

    def row(explanations: Sequence[Explanation], notes: Sequence[str], title: str) -> Row:
        cells = [
            _map_cell(picture, each, note, rule, with_scores) for each, note in zip(explanations, notes, strict=True)
        ]
        return Row([Cell(picture), *cells], f"{stem}\n{title}", shown_doubts(explanations))

    if figure == "classes":
        return [row(by_class, _class_notes(by_class, targets), by_class[0].method.label.title) for by_class in table]
    by_network = list(zip(*table, strict=True))
    if figure == "networks":
        return [row(each, [f"{one.probability:.1%}" for one in each], each[0].class_name) for each in by_network]
    return [row(each, [""] * len(each), each[0].class_title) for each in by_network]


def _class_notes(explanations: Sequence[Explanation], targets: Sequence[int | None]) -> list[str]:
    """What to write below the map of each class. Its name is left out where the column's title has it."""
    named = targets or [None] * len(explanations)
    return [
        each.class_title if target is None else f"{each.probability:.1%}"
        for each, target in zip(explanations, named, strict=True)
    ]


def _map_cell(
    picture: Image.Image, explanation: Explanation, note: str, rule: BoxRule | None, with_score: bool
) -> Cell:
    """The map over the picture, with boxes if there is a rule."""
    notes = [note] if note else []
    if with_score and explanation.scores:
        notes.append(f"score {explanation.scores[-1]:.1f}")
    window = explanation.image.window
    mapped = overlay(picture, explanation.checked_heat(), window)
    boxes = () if rule is None else locate(explanation.checked_extent(), window, rule)
    return Cell(mapped, _on_picture(picture, window, boxes), " · ".join(notes))


def _box_parts(picture: Image.Image, explanation: Explanation, _: BoxRule | None) -> list[Cell]:
    """The map alone, then the picture with the energy box, and with the contour boxes."""
    heat, window = explanation.checked_heat(), explanation.image.window
    extent = explanation.checked_extent()
    rules = (BoxRule("energy", DEFAULT_THRESHOLDS["energy"]), BoxRule("contour"))
    found = [locate(extent, window, rule) for rule in rules]
    boxed = [Cell(picture, _on_picture(picture, window, boxes)) for boxes in found]
    return [Cell(heat_alone(heat, picture.size, window)), *boxed]


def _gate_parts(picture: Image.Image, explanation: Explanation, rule: BoxRule | None) -> list[Cell]:
    """The map with its boxes, then how far the gates are open at each place, relative to the most open place."""
    heat, window = explanation.checked_heat(), explanation.image.window
    boxes = locate(explanation.checked_extent(), window, rule or BoxRule())
    count = f"{len(boxes)} box{'es' * (len(boxes) != 1)}"
    mapped = Cell(
        overlay(picture, heat, window),
        _on_picture(picture, window, boxes),
        f"score {explanation.scores[-1]:.1f} · {count}",
    )
    openness = explanation.openness
    if openness is None:
        raise InputError("none of its gates has a place in the image; choose layers before the linear ones")
    # In the end a few per cent of all gates are open. On a scale up to 1 all places would look the same.
    relative = openness / (openness.max() or 1)
    return [mapped, Cell(heat_alone(relative, picture.size, window), note=f"{openness.mean():.1%} open")]


_PARTS: Mapping[str, Callable[[Image.Image, Explanation, BoxRule | None], list[Cell]]] = MappingProxyType(
    {"boxes": _box_parts, "gates": _gate_parts}
)
"""Figures that show one explanation in several cells."""


def _on_picture(
    picture: Image.Image, window: Window, boxes: Sequence[Box]
) -> tuple[tuple[float, float, float, float], ...]:
    """Boxes (x1, y1, x2, y2) in pixels of the image → in pixels of the picture."""
    across, down = picture.width / window.width, picture.height / window.height
    return tuple((box.x1 * across, box.y1 * down, box.x2 * across, box.y2 * down) for box in boxes)
