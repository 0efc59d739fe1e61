"""The command line: argument parsing, progress bars and messages; the work is done by the package."""

from mesodask.cli.main import main

__all__ = ["main"]
