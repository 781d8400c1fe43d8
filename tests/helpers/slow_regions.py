"""The tree of components by flood fill at each level, and the numbers of a region from its cells, in plain loops."""

from dataclasses import dataclass
from math import log

import numpy as np

from slow_boxes import parts_of


@dataclass(frozen=True)
class SlowRegion:
    cells: frozenset
    threshold: float

    @property
    def box(self):
        ys, xs = [y for y, _ in self.cells], [x for _, x in self.cells]
        return min(xs), min(ys), max(xs) + 1, max(ys) + 1


def slow_thresholds(values):
    """The value at each of 40 ranks, each once; 0 where none leaves a foreground."""
    descending = sorted(values.values(), reverse=True)
    shares = [0.95 * (0.006 / 0.95) ** (step / 39) for step in range(40)]
    found = sorted({descending[int(share * len(descending))] for share in shares})
    return found if found[0] < descending[0] else [0.0]


def slow_regions(heat):
    """Every set of cells that is a component at some level, with its lowest threshold; and all values by cell."""
    height, width = heat.shape
    top = max(float(heat.max()), 0.0) or 1.0
    values = {(y, x): max(float(heat[y, x]), 0.0) / top for y in range(height) for x in range(width)}
    found = {}
    for threshold in slow_thresholds(values):
        for part in parts_of(cell for cell in values if values[cell] > threshold):
            found.setdefault(frozenset(part), threshold)
    large = {cells: low for cells, low in found.items() if len(cells) >= 0.004 * len(values)}
    if found and not large:
        best = min(found, key=lambda cells: (-len(cells), found[cells], min(cells)))
        large = {best: found[best]}
    return [SlowRegion(cells, threshold) for cells, threshold in large.items()], values


def slow_parent(region, regions):
    around = [other for other in regions if other.cells > region.cells]
    return min(around, key=lambda other: len(other.cells), default=None)


def slow_children(region, regions):
    return [other for other in regions if slow_parent(other, regions) is region]


def slow_iou(a, b):
    def cells(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    return len(cells(a) & cells(b)) / len(cells(a) | cells(b))


def log_odds(share):
    return log((share + 0.01) / (1.01 - share))


def slow_numbers(region, regions, values):
    """All numbers of a region, by the names of the table."""
    rows, columns = max(y for y, _ in values) + 1, max(x for _, x in values) + 1
    x1, y1, x2, y2 = region.box
    box = {(y, x) for y in range(y1, y2) for x in range(x1, x2)}
    energy, squares = sum(values.values()), sum(value**2 for value in values.values())
    own = sum(values[cell] for cell in region.cells)
    above = [cell for cell in values if values[cell] > region.threshold]
    siblings = [other for other in regions if slow_parent(other, regions) is slow_parent(region, regions)]
    siblings = [other for other in siblings if other is not region] if slow_parent(region, regions) else []
    return {
        "box_area": log(len(box) / len(values)),
        "energy": log_odds(own / energy),
        "squares": log_odds(share_of_squares(region, values)),
        "fill": len(region.cells) / len(box),
        "border": ((x1 == 0) + (y1 == 0) + (x2 == columns) + (y2 == rows)) / 4,
        "stable_below": log(1 + steps(region, lambda at: slow_parent(at, regions))),
        "stable_above": log(1 + steps(region, lambda at: largest_child(at, regions))),
        "parts": log(sum(not slow_children(each, regions) for each in regions if each.cells <= region.cells)),
        "ring": ring(region.box, values),
        "spread": log(energy**2 / (len(values) * squares)),
        "level": log(region.threshold / max(values[cell] for cell in region.cells) + 1e-9),
        "valley": max(valley(each, regions, values) for each in regions if each.cells <= region.cells),
        "sibling": max((share_of_squares(other, values) for other in siblings), default=0.0),
        "mean": log(own / len(region.cells) + 1e-9),
        "foreground": log(len(above) / len(values) + 1e-4),
        "of_foreground": log_odds(len(region.cells) / len(above)),
    }


def share_of_squares(region, values):
    return sum(values[cell] ** 2 for cell in region.cells) / sum(value**2 for value in values.values())


def steps(region, following):
    count, at = 0, following(region)
    while at is not None and slow_iou(region.box, at.box) > 0.7:
        count, at = count + 1, following(at)
    return count


def largest_child(region, regions):
    """The upper left of equals, by the first row in which they have a cell."""
    return max(slow_children(region, regions), key=lambda child: (len(child.cells), -min(child.cells)[0]), default=None)


def ring(box, values):
    x1, y1, x2, y2 = box
    across, down = max(2, int(0.15 * (x2 - x1))), max(2, int(0.15 * (y2 - y1)))
    inside = [value for (y, x), value in values.items() if x1 <= x < x2 and y1 <= y < y2]
    wider = [
        value
        for (y, x), value in values.items()
        if x1 - across <= x < x2 + across and y1 - down <= y < y2 + down and not (x1 <= x < x2 and y1 <= y < y2)
    ]
    return log((np.mean(inside) + 1e-6) / (sum(wider) / max(len(wider), 1) + 1e-6))


def valley(region, regions, values):
    children = slow_children(region, regions)
    if len(children) < 2:
        return 0.0
    peaks = sorted(max(values[cell] for cell in child.cells) for child in children)
    return log(peaks[-2] / children[0].threshold + 1e-9)


def brute_best(regions, worth):
    """The largest sum of worth over all sets of disjoint regions (sets of cells), and every set that reaches it."""
    best, sets = 0.0, [()]
    for chosen in range(2 ** len(regions)):
        some = [index for index in range(len(regions)) if chosen >> index & 1]
        cells = [regions[index] for index in some]
        if sum(map(len, cells)) == len(frozenset().union(*cells)):
            total = sum(worth[index] for index in some)
            if total > best + 1e-12:
                best, sets = total, []
            if abs(total - best) <= 1e-12:
                sets.append(tuple(some))
    return best, sets
