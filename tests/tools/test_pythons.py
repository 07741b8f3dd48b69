"""`tools/pythons.sh` finds only Pythons that run."""

import os
import subprocess
from pathlib import Path

import pytest

FINDER = Path(__file__).parents[2] / "tools" / "pythons.sh"


@pytest.fixture
def find(tmp_path):
    """Run the finder where the only Pythons are the given ones: {path: answer}."""

    def run(pythons: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
        for name, answer in pythons.items():
            python = tmp_path / name
            python.parent.mkdir(parents=True, exist_ok=True)
            python.write_text(f"#!/bin/sh\n{answer}\n")
            python.chmod(0o755)
        return subprocess.run(
            ["/bin/sh", FINDER, *arguments],
            env={"PATH": f"{tmp_path}/bin:{tools}", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )

    # The machine's own folders hold Pythons too: link only the tools that are used.
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("awk", "cut", "head", "ls", "sort", "tail", "tr"):
        folders = os.get_exec_path()
        (path,) = [p for f in folders if (p := Path(f, name)).exists()][:1]
        (tools / name).symlink_to(path)
    return run


SHIM = "echo 'command not found' >&2; exit 127"


def test_the_oldest_and_the_newest_are_tested(find):
    pythons = {
        "bin/python3": "echo 3.12 /twelve",
        "bin/python3.14": SHIM,
        ".pyenv/versions/3.9.1/bin/python3": "exit 1",
        ".pyenv/versions/3.11.7/bin/python3": "echo 3.11 /eleven",
        ".pyenv/versions/3.13.0/bin/python3": "echo 3.13 /with space",
    }
    assert find(pythons, "oldest").stdout == "3.11\n"
    assert find(pythons, "newest").stdout == "3.13\n"
    assert find(pythons, "3.13").stdout == "/with space\n"
    assert find(pythons, "default").stdout == "/twelve\n"


def test_a_single_python_is_tested_alone_and_said_to_be(find):
    only = {"bin/python3": "echo 3.12 /a", "bin/python3.13": SHIM}
    assert find(only, "newest").stdout == "3.12\n"
    found = find(only, "oldest")
    assert found.stdout == "3.12\n"
    assert "Only Python 3.12 works here" in found.stderr


def test_the_newest_stands_in_for_a_default_that_will_not_do(find):
    pythons = {
        "bin/python3": "exit 1",
        "bin/python3.11": "echo 3.11 /a",
        "bin/python3.12": "echo 3.12 /b",
    }
    assert find(pythons, "default").stdout == "/b\n"


def test_a_python_that_is_not_there_is_refused(find):
    found = find({"bin/python3": "echo 3.11 /a"}, "3.12")
    assert found.returncode == 1
    assert "no working Python 3.12" in found.stderr


def test_a_machine_without_python_is_told_what_to_install(find):
    found = find({"bin/python3": SHIM}, "newest")
    assert found.returncode == 1
    assert "at least 3.11" in found.stderr
