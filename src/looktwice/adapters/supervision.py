"""Boxes as the detections of supervision, with its annotators, data set writers and metrics.

The extra ``supervision`` installs it.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from looktwice.errors import InputError, MissingExtraError
from looktwice.localization.boxes import Box
from looktwice.localization.regions import Region

if TYPE_CHECKING:
    from supervision import Detections


def to_detections(boxes: Sequence[Box], class_index: int, class_name: str | None = None) -> "Detections":
    """The boxes of one class → ``supervision.Detections``.

    For several classes of a picture, make detections of each and join them with ``Detections.merge``. Give all of them
    a name, or none.

    Args:
        boxes: the boxes of one picture, as ``locate`` gives them.
        class_index: their class.
        class_name: its name. Annotators write it; without it they write the index.

    Returns:
        ``xyxy`` float32 (n, 4), half-open pixels of the picture; ``confidence`` float32 (n,), the scores;
        ``class_id`` int (n,); ``mask`` bool (n, height, width), the boxes' regions, unless the boxes have none;
        ``data["class_name"]`` str (n,) where there is a name. Without boxes it is ``Detections.empty()``.

    Raises:
        InputError: some boxes have a region and others none, or their regions are of pictures with other sizes.
        MissingExtraError: supervision is not installed.

    Example:
        >>> import looktwice, numpy as np
        >>> from looktwice.adapters.supervision import to_detections
        >>> from looktwice.images import Window
        >>> heat = np.zeros((100, 100))
        >>> heat[20:60, 30:50] = 1
        >>> boxes = looktwice.locate(heat, Window.whole(width=400, height=200))
        >>> detections = to_detections(boxes, 281, "tabby")
        >>> detections.xyxy.tolist(), int(detections.mask.sum())
        ([[120.0, 40.0, 200.0, 120.0]], 6400)
    """
    try:
        detections: type[Detections] = import_module("supervision").Detections
    except ImportError as error:
        raise MissingExtraError("supervision is missing: pip install 'looktwice[supervision]'") from error
    if not boxes:
        return detections.empty()
    return detections(
        xyxy=np.array([box.corners for box in boxes], dtype=np.float32),
        mask=_masks(boxes),
        confidence=np.array([box.score for box in boxes], dtype=np.float32),
        class_id=np.full(len(boxes), class_index, dtype=int),
        data={} if class_name is None else {"class_name": np.array([class_name] * len(boxes))},
    )


def _masks(boxes: Sequence[Box]) -> NDArray[np.bool_] | None:
    """The regions as masks (n, height, width), or ``None`` if no box has one."""
    regions = [box.region for box in boxes if box.region is not None]
    if not regions:
        return None
    if len(regions) < len(boxes):
        raise InputError(
            f"{len(boxes) - len(regions)} of {len(boxes)} boxes have no region; convert boxes with and without apart"
        )
    sizes = {_size(region) for region in regions}
    if len(sizes) > 1:
        seen = " and ".join(f"{width}×{height}" for width, height in sorted(sizes))
        raise InputError(f"the boxes are of pictures with {seen} pixels; convert the boxes of each picture apart")
    ((width, height),) = sizes
    return np.stack([region.mask(width, height) for region in regions])


def _size(region: Region) -> tuple[int, int]:
    """(width, height) of what the region lies in: its image, or the map itself."""
    return region.map_size if region.window is None else (region.window.width, region.window.height)
