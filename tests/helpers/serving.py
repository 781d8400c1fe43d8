"""``looktwice serve`` as a process of its own."""

import os
import subprocess
import sys
from contextlib import contextmanager


@contextmanager
def serving(*arguments):
    """The program, and where its page is."""
    command = [sys.executable, "-m", "looktwice", "serve", "--port", "0", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment) as server:
        try:
            yield server, server.stdout.readline().split()[1]
        finally:
            server.terminate()
