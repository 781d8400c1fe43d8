"""Labels that take a moment: the six colours of ``evaluations``, and what a run left on the disk."""

import json

from evaluations import colours
from looktwice.labelling.label import label_images
from looktwice.labelling.plan import LabelPlan

PLAN = LabelPlan("gradient", batch_size=4)


def label(dataset, folder, *, plan=PLAN, model=None, workers=0, forms=("coco", "yolo"), **choices):
    return label_images(dataset, model or colours(), folder, plan, forms=forms, workers=workers, **choices)


def files(folder):
    """All files below a folder with their bytes, links with their targets."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def annotations(folder):
    """(file name, category, box, score) of each annotation of the COCO file."""
    content = json.loads((folder / "coco.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    categories = {each["id"]: each["name"] for each in content["categories"]}
    return [
        (names[each["image_id"]], categories[each["category_id"]], each["bbox"], each["score"])
        for each in content["annotations"]
    ]
