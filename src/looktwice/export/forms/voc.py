"""The form ``voc``: pictures, XML files and lists as PASCAL VOC has them (Everingham et al. 2010)."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from xml.sax.saxutils import escape

from looktwice.export.claims import claimed
from looktwice.export.label_set import LabelledImage, LabelSet
from looktwice.export.naming import check_images, plain_names
from looktwice.export.placing import place
from looktwice.export.shapes import voc_colour, whole_pixels


def write(labels: LabelSet, folder: Path) -> Path:
    """Writes ``voc/JPEGImages/``, ``voc/Annotations/`` and ``voc/ImageSets/Main/`` with train, val and trainval.

    ``voc/labelmap.txt`` names the classes, as datumaro and CVAT need it.

    Boxes are whole pixels, counted from 1; the last ones are inside. Sides go to the nearest border of a pixel. VOC's
    pictures are JPEG files with the suffix .jpg: a picture of another kind is written as JPEG.

    Returns:
        The folder ``voc``. The lists are written last.

    Raises:
        InputError: a folder of the user's is there, a file was changed, an image cannot be read, or a name is no plain
            text.
        RunError: a file cannot be written.
    """
    names = plain_names(labels.classes, "voc")
    check_images(labels, lambda image: image.name, "voc")
    root = folder / "voc"
    with claimed(labels, root, folder) as mine, ExitStack() as stack:
        mine.write(root / "labelmap.txt", _label_map(names).encode())
        lists = root / "ImageSets" / "Main"
        both, train, val = (
            stack.enter_context(mine.writing(lists / f"{split}.txt")) for split in ("trainval", "train", "val")
        )
        for image in labels.images():
            place(labels, image, root / "JPEGImages" / image.name, mine, kinds=("JPEG",), other="JPEG")
            mine.write(root / "Annotations" / f"{image.name}.xml", _annotation(image, names).encode())
            for file in (both, val if image.id in labels.validation else train):
                file.write(f"{image.name}\n".encode())
    return root


def _label_map(names: Sequence[str]) -> str:
    """The classes as datumaro reads them: name:red,green,blue:parts:actions. The colours are those of the form masks.

    A name with a colon, or with "#" at its beginning, is left out: no line can hold it.
    """
    lines = [
        f"{name}:{','.join(map(str, voc_colour(number)))}::\n"
        for number, name in enumerate(["background", *names])
        if ":" not in name and not name.startswith("#") and (number == 0 or name != "background")
    ]
    return "".join(["# label:color_rgb:parts:actions\n", *lines])


def _annotation(image: LabelledImage, names: Sequence[str]) -> str:
    lines = [
        "<annotation>",
        "  <folder>JPEGImages</folder>",
        f"  <filename>{escape(image.name)}.jpg</filename>",
        "  <source><database>looktwice</database></source>",
        f"  <size><width>{image.width}</width><height>{image.height}</height><depth>3</depth></size>",
        "  <segmented>0</segmented>",
    ]
    for found in image.objects:
        x1, y1, x2, y2 = whole_pixels(found.box, image.width, image.height)
        lines += [
            "  <object>",
            f"    <name>{escape(names[found.id])}</name>",
            "    <pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>",
            f"    <bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>",
            f"    <score>{round(found.box.score, 6)}</score>",
            "  </object>",
        ]
    return "".join(f"{line}\n" for line in [*lines, "</annotation>"])
