"""Ctrl-C: the program ends within about a second, with the line "stopped" and exit code 130."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SECONDS = 0.8
"""An interrupted program has this long to end in good order."""


class Interruption:
    """Whether the program is interrupted, and its end.

    The first Ctrl-C lets the program end in good order. What takes longer than ``SECONDS`` is cut off, because the
    network may be in the middle of a pass. A second Ctrl-C ends it at once.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._received: int | None = None
        self._told = threading.Lock()

    @property
    def begun(self) -> bool:
        """Whether the program is interrupted."""
        return self._received is not None

    def begin(self, received: int) -> None:
        """Notes the interruption, and sees to it that the program ends soon.

        Args:
            received: the signal. The exit code is this number + 128, as shells have it.
        """
        if self.begun:
            self.end()
        self._received = received
        _silence()
        timer = threading.Timer(SECONDS, self.end)
        timer.daemon = True
        timer.start()

    def end(self) -> None:
        """Ends the process now. Nothing else would end a pass of the network."""
        flushing = threading.Thread(target=_flush, daemon=True)  # it never ends if nobody reads what is written
        flushing.start()
        flushing.join(0.1)
        self.tell()
        os._exit(128 + (self._received or signal.SIGINT))

    def tell(self) -> None:
        """Prints "stopped" once. A program that was not interrupted by Ctrl-C has nobody who reads it."""
        if self._received in (None, signal.SIGINT) and self._told.acquire(blocking=False):
            with suppress(OSError):
                os.write(2, b"looktwice: stopped\n")  # not through the stream, which may be in use just now

    def handle(self, received: int, frame: FrameType | None) -> None:
        """The handler of Ctrl-C."""
        if os.getpid() == self._process:  # else a worker, which its parent ends
            self.begin(received)
            if _is_importing(frame):
                self.end()  # compiled modules that are cut off while they load may bring the process down
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def _silence() -> None:
    """What is cut off may complain where nobody can catch it."""
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None


INTERRUPTION = Interruption()
"""The interruption of this process."""


@contextmanager
def ending_soon() -> Iterator[None]:
    """Inside the ``with``, Ctrl-C ends the program soon and without a trace."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # whoever started the program has other plans, such as nohup
        return
    signal.signal(signal.SIGINT, INTERRUPTION.handle)
    try:
        yield
    finally:
        if INTERRUPTION.begun:
            INTERRUPTION.end()
        signal.signal(signal.SIGINT, usual)
