"""The command line, run in this process."""

from typer.testing import CliRunner

from apical.cli import app


def run(*words, width=100):
    runner = CliRunner(env={"COLUMNS": str(width), "NO_COLOR": "1"})
    return runner.invoke(app, [word for part in words for word in part.split()])


def flat(text):
    return " ".join(text.split())
