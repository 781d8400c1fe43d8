"""How far the work on a data set is."""

from collections.abc import Callable, Sequence
from typing import Any

from looktwice.evaluation.chunks import Chunks

Progress = Callable[[int, int], None]
"""Gets how many of this process's images are done, and how many it has."""


class ChunkCounter:
    """Tells how many images are done, chunk by chunk.

    Args:
        chunks: of the run.
        own: the chunks of this process.
        missing: those of them that are not done yet.
        progress: is told; ``None``: nobody is.
    """

    def __init__(
        self, chunks: Chunks[Any], own: Sequence[int], missing: Sequence[int], progress: Progress | None
    ) -> None:
        self._chunks, self._progress = chunks, progress
        self._total = sum(len(chunks.images(index)) for index in own)
        self._done = self._total - sum(len(chunks.images(index)) for index in missing)
        self._tell()

    def advance(self, index: int) -> None:
        """Counts a chunk that is done."""
        self._done += len(self._chunks.images(index))
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total)
