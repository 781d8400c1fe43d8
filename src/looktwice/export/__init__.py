"""Findings to files. An exporter is a function; the table has a row for each, and ``attend`` runs them all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from looktwice.export.finding import Finding as Finding
from looktwice.export.finding import ShownClass as ShownClass
from looktwice.export.picture import write_picture
from looktwice.export.record import write_record

Exporter = Callable[[Finding, Path], Path]
"""A finding and the path of its results without a suffix → the file that was written, complete or not at all."""

EXPORTERS: Mapping[str, Exporter] = MappingProxyType({"picture": write_picture, "record": write_record})
"""Every exporter, in the order in which its files appear."""
