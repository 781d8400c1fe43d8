"""The command line. Each command is a thin layer over one function of the library.

Heavy packages are imported where a command needs them, so that help and mistakes are quick.
"""

from looktwice.cli.program import app as app
from looktwice.cli.program import run as run
