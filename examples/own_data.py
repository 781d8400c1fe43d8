"""How well do two methods find the objects in your own pictures, with boxes drawn by hand?

This script writes the annotation, evaluates both methods and prints every measure. It needs the extra ``evaluate``.
"""

# ruff: noqa: T201 - a script prints

import shutil
import sys
from pathlib import Path

import looktwice
from looktwice.datasets import load_dataset
from looktwice.report.paper_tables import measures
from looktwice.runs.folder import read_summary

PICTURES = Path(__file__).parent / "images"

# --8<-- [start:annotation]
ANNOTATION = """\
image,label,x1,y1,x2,y2
cat.jpg,tiger cat,0,0,385,300
coffee.jpg,espresso,77,17,479,390
rocket.jpg,missile,307,128,340,407
photographer.jpg,tripod,230,300,408,512
"""

CLASSES = """\
name,index
tiger cat,282
espresso,967
missile,657
tripod,872
"""
# --8<-- [end:annotation]


def main(folder: Path) -> None:
    """Writes the data set and the run to ``folder``. A second call only prints."""
    data = folder / "pictures"
    data.mkdir(parents=True, exist_ok=True)
    for line in ANNOTATION.splitlines()[1:]:
        name = line.partition(",")[0]
        shutil.copy(PICTURES / name, data / name)
    (data / "boxes.csv").write_text(ANNOTATION)
    (folder / "classes.csv").write_text(CLASSES)

    # --8<-- [start:evaluate]
    dataset = load_dataset(data / "boxes.csv", "csv", classes=folder / "classes.csv")
    for problem in dataset.problems:
        print(problem)
    model = looktwice.load_model(squash=True)
    plan = looktwice.EvaluationPlan({"gradient": {}, "global_feedback": {"trace_weight": 0.5}}, target="true")
    # For four pictures, further processes do not pay.
    status = looktwice.evaluate(dataset, model, folder / "run", plan, workers=0)
    print(measures(read_summary(status.run)))
    # --8<-- [end:evaluate]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/own-data"))
