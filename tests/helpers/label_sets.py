"""Small labelled data sets, made by hand, for tests of the forms."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from looktwice.decoding import Orientation
from looktwice.export.label_set import ImageClass, LabelClass, LabelledImage, LabelledObject, LabelSet
from looktwice.images import Window
from looktwice.localization.boxes import Box
from looktwice.localization.regions import Region

CLASSES = (
    LabelClass(0, "tench", 0),
    LabelClass(1, "crane", 134),
    LabelClass(2, "crane", 517),
    LabelClass(3, "no", 3),
    LabelClass(4, "Äpfel & <Birnen>: \"süß\" #1, 'x'", 950),
)
NAMES = ("tench", "crane (134)", "crane (517)", "no", CLASSES[4].name)


@dataclass(frozen=True)
class Bytes:
    """An image that lies in an archive."""

    content: bytes

    def read(self) -> bytes:
        return self.content


@dataclass
class SetMaker:
    """Pictures in a folder, and what was found in them."""

    root: Path
    classes: tuple[LabelClass, ...] = CLASSES
    images: list[LabelledImage] = field(default_factory=list)

    def add(
        self,
        name,
        *objects,
        size=(50, 40),
        exif=None,
        packed=False,
        kind=None,
        looked_for=None,
        window=None,
    ):
        """A picture of this upright size; an object is (class id, box)."""
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(file, size, exif=exif, kind=kind)
        content = Bytes(file.read_bytes()) if packed else None
        if packed:
            file.unlink()
        ids = looked_for if looked_for is not None else tuple(dict.fromkeys(number for number, _ in objects)) or (0,)
        self.images.append(
            LabelledImage(
                id=name,
                name=name.rsplit(".", 1)[0] if "." in name.rsplit("/", 1)[-1][1:] else name,
                file=file,
                width=size[0],
                height=size[1],
                window=window or Window.whole(*size),
                classes=tuple(ImageClass(number, 0.75, number == ids[0]) for number in ids),
                objects=tuple(LabelledObject(number, box) for number, box in objects),
                content=content,
                orientation=None if exif is None else Orientation(exif, size[::-1] if exif >= 5 else size),
            )
        )
        return self

    def done(self, *validation, root=None) -> LabelSet:
        about = {"looktwice": "0.3.0", "model": "net"}
        images = tuple(self.images)
        return LabelSet(
            self.classes, lambda: iter(images), len(images), root or self.root, frozenset(validation), about
        )


def draw(file: Path, size, *, exif=None, kind=None):
    """A picture that is red in the upper left quarter as one sees it, blue elsewhere."""
    width, height = size
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 2] = 255
    pixels[: (height + 1) // 2, : (width + 1) // 2] = (255, 0, 0)
    picture = Image.fromarray(pixels)
    options = {}
    if exif is not None:
        undo = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }
        picture = picture.transpose(undo[exif])
        tags = Image.Exif()
        tags[0x0112] = exif
        options["exif"] = tags.tobytes()
    suffixes = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".gif": "GIF", ".webp": "WEBP", ".tif": "TIFF"}
    kind = kind or suffixes[file.suffix.lower()]
    picture.save(file, kind, **(options | ({"quality": 100, "subsampling": 0} if kind == "JPEG" else {})))


def region_box(cells, size, *, at=(0, 0), map_size=None, window=None, score=0.5) -> Box:
    """The box around a region: ``cells`` (h, w) lie at column, row ``at`` of a map that covers the window."""
    cells = np.asarray(cells, dtype=np.uint8)
    map_size = map_size or (cells.shape[1] + at[0], cells.shape[0] + at[1])
    window = window or Window.whole(*size)
    region = Region(cells, 1, *at, map_size, window)
    corners = (at[0], at[1], at[0] + cells.shape[1], at[1] + cells.shape[0])
    return Box(*window.to_image(corners, *map_size).tolist(), score, region)


RING = [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
PARTS = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]
PINCH = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
ELL = [[1, 0], [1, 1]]


def awkward(root: Path) -> SetMaker:
    """Pictures with several classes, regions of all kinds, no object, turned, packed, tiny and long."""
    maker = SetMaker(root)
    maker.add(
        "a.jpg",
        (0, Box(3.0, 4.0, 30.25, 20.5, 0.9)),
        (1, region_box(ELL, (50, 40), at=(3, 2), map_size=(7, 7), score=0.8)),
        (2, region_box(RING, (50, 40), at=(1, 1), map_size=(7, 7), score=0.7)),
    )
    maker.add("sub/a.jpg", (4, region_box(PARTS, (50, 40), at=(2, 1), map_size=(8, 8), score=0.31)))
    maker.add("sub/a b.png", looked_for=(3, 1))
    maker.add("turned.jpg", (0, Box(0.0, 0.0, 20.0, 10.0, 0.5)), size=(60, 30), exif=6)
    maker.add("stored/turned.png", (1, Box(1.0, 2.0, 20.0, 10.0, 0.5)), size=(60, 30), exif=5)
    maker.add("packed/x.jpg", (3, Box(0.0, 0.0, 50.0, 40.0, 1.0)), packed=True)
    maker.add("packed/turned.jpeg", (3, Box(0.5, 0.5, 9.4, 9.6, 0.25)), size=(30, 40), exif=8, packed=True)
    maker.add("one.png", (0, region_box([[1]], (1, 1), at=(50, 60), map_size=(112, 112))), size=(1, 1))
    maker.add("long.png", (2, region_box(PINCH, (3, 5000), at=(0, 5), map_size=(3, 112))), size=(3, 5000))
    padded = Window(-20.0, -20.0, 60.0, 60.0, 40, 40)
    maker.add("padded.png", (1, region_box(PARTS, (40, 40), map_size=(4, 4), window=padded)), size=(40, 40))
    crop = Window(10.0, 0.0, 50.0, 40.0, 60, 40)
    maker.add("crop.gif", (4, region_box(PINCH, (60, 40), map_size=(7, 7), window=crop)), size=(60, 40), window=crop)
    return maker
