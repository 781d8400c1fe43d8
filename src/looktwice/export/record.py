"""A finding as a JSON file, for programs that go on with it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from looktwice import __version__
from looktwice.export.finding import Finding
from looktwice.export.results import write_result


def write_record(finding: Finding, stem: Path) -> Path:
    """Writes ``STEM.json``: where the map lies, its class, its scores, and the boxes in pixels of the image.

    Raises:
        InputError: there is a file of the user's own.
        LooktwiceError: the file cannot be written.
    """
    content = json.dumps(record(finding), indent=2).encode() + b"\n"
    return write_result(stem.with_name(f"{stem.name}.json"), content)


def record(finding: Finding) -> dict[str, Any]:
    """The content of the file."""
    window = finding.window
    return {
        "looktwice": __version__,
        "image": str(finding.path),
        "width": window.width,
        "height": window.height,
        "window": {"x1": window.left, "y1": window.top, "x2": window.right, "y2": window.bottom},
        "model": finding.model,
        "weights": finding.weights,
        "target": {"index": finding.class_index, "name": finding.class_name},
        "targets": [asdict(each) for each in finding.targets],
        "probability": finding.probability,
        "output": finding.output,
        "scores": list(finding.scores),
        "closed_layers": finding.closed_layers,
        "activations": asdict(finding.gated),
        "doubts": list(finding.doubts),
        "notes": list(finding.notes),
        "method": finding.method,
        "options": dict(finding.options),
        "box_rule": finding.rule.as_dict(),
        "boxes": [box.as_dict() for box in finding.boxes],
    }
