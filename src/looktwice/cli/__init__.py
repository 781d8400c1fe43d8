"""The command line. What is heavy is imported where a command needs it."""

from looktwice.cli.program import app as app
from looktwice.cli.program import run as run
