"""Boxes and maps of a small square picture, whose pixels can be counted one by one."""

from hypothesis import strategies as st

from looktwice.images import Window


def square(side: int) -> Window:
    """The map's pixels are the image's."""
    return Window.whole(side, side)


@st.composite
def boxes_within(draw, side=12):
    x1, x2 = sorted(draw(st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True)))
    y1, y2 = sorted(draw(st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True)))
    return x1, y1, x2, y2


def pixels_of(box):
    x1, y1, x2, y2 = box
    return {(y, x) for y in range(y1, y2) for x in range(x1, x2)}
