"""``python -m looktwice``: the command line."""

from looktwice.cli import run

if __name__ == "__main__":
    run()
