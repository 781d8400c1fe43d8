"""Regions of a map by flood fill in plain loops, which shares nothing with OpenCV's contours."""

EIGHT = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
FOUR = [(-1, 0), (1, 0), (0, -1), (0, 1)]


def flood(start, allowed, steps):
    seen, stack = {start}, [start]
    while stack:
        y, x = stack.pop()
        for dy, dx in steps:
            step = (y + dy, x + dx)
            if step in allowed and step not in seen:
                seen.add(step)
                stack.append(step)
    return seen


def slow_foreground(heat, threshold, by):
    height, width = heat.shape
    values = {(y, x): max(float(heat[y, x]), 0.0) for y in range(height) for x in range(width)}
    top = max(values.values())
    if by == "max":
        return {pixel for pixel, value in values.items() if value > threshold * top}, values
    total, chosen, held = sum(values.values()), set(), 0.0
    for value in sorted(set(values.values()), reverse=True):
        if value == 0 or (chosen and held >= threshold * total * (1 - 1e-12)):
            break
        level = {pixel for pixel in values if values[pixel] == value}
        chosen |= level
        held += value * len(level)
    return chosen, values


def parts_of(pixels):
    """Sets of pixels (y, x) that touch by sides or corners."""
    left = set(pixels)
    while left:
        part = flood(min(left), left, EIGHT)
        left -= part
        yield part


def without_holes(pixels, height, width):
    """The pixels and whatever of the map they enclose."""
    # What the background reaches from outside, around the map, is outside; all else is inside some external contour.
    around = {(y, x) for y in range(-1, height + 1) for x in range(-1, width + 1)}
    outside = flood((-1, -1), around - pixels, FOUR)
    return {(y, x) for y in range(height) for x in range(width)} - outside


def slow_contour_regions(heat, threshold, by, smallest):
    """Each region with its holes, and its share of the energy."""
    height, width = heat.shape
    foreground, values = slow_foreground(heat, threshold, by)
    total = sum(values.values())
    for region in parts_of(without_holes(foreground, height, width)):
        if len(region) / (height * width) >= smallest:
            yield region, sum(values[pixel] for pixel in region) / total
