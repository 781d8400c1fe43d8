"""Maps as a run's rows keep them: small gray pictures, so that a report can show any map without ``--save-maps``.

They are to be looked at. Boxes and measures are of the full maps. On 60 ILSVRC images the small maps of the paper's
four methods had 279 to 494 bytes on average, so 50,000 images need 79 MB. A small map takes about 0.1 ms.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMALL_SIDE = 28
"""Longer side of a small map, in pixels. A map is smooth, so it can be enlarged again."""


LEVELS = 32
"""Grays of a small map, evenly spaced from black. A report has as many colours."""


_STEP = 256 // LEVELS


def small_map(heat: NDArray[np.floating[Any]]) -> bytes:
    """A map (H, W) in [0, 1] as the bytes of an 8-bit gray PNG with sides of 28 pixels at most."""
    height, width = heat.shape
    scale = min(1.0, SMALL_SIDE / max(height, width))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    small = cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    grays = _STEP * ((LEVELS - 1) * np.clip(small, 0, 1)).round().astype(np.uint8)
    return cv2.imencode(".png", grays)[1].tobytes()


def heat_of(content: bytes) -> NDArray[np.float32] | None:
    """The map (H, W) in [0, 1] that ``small_map`` made these bytes of; None if they are no picture."""
    values = np.frombuffer(content, np.uint8)
    grays = cv2.imdecode(values, cv2.IMREAD_GRAYSCALE) if len(values) else None
    return None if grays is None else grays.astype(np.float32) / np.float32(_STEP * (LEVELS - 1))
