"""Small data sets in every layout, for tests."""

from pathlib import Path

from hypothesis import strategies as st

from looktwice.datasets import (
    Sample,
)


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def xml(*objects, size=(100, 80)):
    """A VOC-style annotation; an object is (name, xmin, ymin, xmax, ymax[, difficult])."""
    parts = ["<annotation><folder>x</folder>"]
    if size:
        parts.append(f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    for name, x1, y1, x2, y2, *difficult in objects:
        parts.append(
            f"<object><name>{name}</name><difficult>{int(bool(difficult))}</difficult><bndbox>"
            f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        )
    return "".join([*parts, "</annotation>"])


SYNSETS = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n"


def ilsvrc(root, annotations, *, base=None, images=None):
    """The official layout with XML files; `annotations` maps id to the XML text."""
    base = base or root
    write(root / "LOC_synset_mapping.txt", SYNSETS)
    write(base / "ImageSets/CLS-LOC/val.txt", "".join(f"{name} {n}\n" for n, name in enumerate(annotations, 1)))
    for name, text in annotations.items():
        write(base / f"Annotations/CLS-LOC/val/{name}.xml", text)
    for name in annotations if images is None else images:
        write(base / f"Data/CLS-LOC/val/{name}.JPEG")
    return root


TENCH = ("n01440764", 0, 0, 49, 39)  # 50 columns and 40 rows from the corner


def voc(root, annotations):
    write(root / "ImageSets/Main/val.txt", "".join(f"{name}\n" for name in annotations))
    for name, text in annotations.items():
        write(root / f"Annotations/{name}.xml", text)
        write(root / f"JPEGImages/{name}.jpg")
    return root


def box(key, category, *bbox, crowd=0):
    return {"image_id": key, "category_id": category, "bbox": list(bbox), "iscrowd": crowd}


def sample(name, labels=(0,), boxes=((),), folder="x"):
    return Sample(name, Path(folder) / name, labels, boxes)


names = st.lists(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), unique=True, max_size=30)
