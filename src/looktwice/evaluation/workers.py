"""Processes that work beside the network: they decode, measure and write while it computes."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import cv2

from looktwice.errors import RunError

T = TypeVar("T")


@contextmanager
def handing_over(
    work: Callable[[T], None], what: str, *, workers: int
) -> Iterator[Callable[[T, Callable[[], None]], None]]:
    """A function that has things worked on by other processes. After the ``with`` all of them are done.

    Only a few things wait at a time, so memory stays flat.

    Args:
        work: what is done with a thing. It must be possible to pickle both.
        what: what it does, in words.
        workers: processes that do it; with 0 this process does.

    Yields:
        A function of a thing and of what to call when it is done.

    Raises:
        RunError: a worker was killed; or whatever the work raises.
    """
    if not workers:

        def work_here(thing: T, done: Callable[[], None]) -> None:
            work(thing)
            done()

        yield work_here
        return
    pending: deque[tuple[Callable[[], None], Future[None]]] = deque()

    def settle(most: int) -> None:
        while pending and (len(pending) > most or pending[0][1].done()):
            done, future = pending.popleft()
            future.result()
            done()

    def hand_over(thing: T, done: Callable[[], None]) -> None:
        settle(2 * workers - 1)
        pending.append((done, pool.submit(work, thing)))

    pool = ProcessPoolExecutor(workers, mp_context=worker_context(), initializer=_begin_worker, initargs=(os.getpid(),))
    try:
        pool.submit(os.getpid).result()  # starts the workers now, before the network starts threads
        yield hand_over
        settle(0)
    except BrokenProcessPool as error:
        raise worker_killed(what) from error
    finally:
        pool.shutdown(cancel_futures=True)


def worker_context() -> multiprocessing.context.BaseContext:
    """How workers start: by a fork where that is safe, so at once and without importing the caller's script again."""
    return multiprocessing.get_context("fork" if sys.platform == "linux" else None)


def worker_killed(what: str) -> RunError:
    """The error for a user one of whose worker processes was killed.

    Args:
        what: what it does, in words.
    """
    return RunError(
        f"a process that {what} was killed, perhaps because memory was short; all that was written before stays: run "
        "the same command again to go on, with fewer --workers"
    )


@contextmanager
def telling_killed_decoders() -> Iterator[None]:
    """Says in one line that a process that decodes was killed. The error may come anywhere inside the ``with``.

    Raises:
        RunError: so it is.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise worker_killed("decodes images") from error


def _begin_worker(parent: int) -> None:
    cv2.setNumThreads(0)  # there are enough processes
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    """Ends this process soon after its parent was killed. Nothing else would tell it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
