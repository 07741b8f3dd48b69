"""Jobs of submitit as processes of this machine, in place of those of Slurm."""

import contextlib
import os
import signal
from pathlib import Path

import pytest
from support.lab_files import tiny
from support.lab_runs import SMALL, untimed

from apical import lab

# Each job is a process; `make bench` installs submitit.
pytestmark = pytest.mark.slow
pytest.importorskip("submitit", reason="needs the extra apical[slurm]")

ASKED = {**SMALL, "rules": ["backpropagation", "kolen-pollack"], "report": False}
TABLES = ("records", "layers", "trials")


def test_a_job_is_killed_and_the_numbers_are_those_of_a_local_run(tmp_path):
    told = []

    def kill(event):
        told.append((event.rule, event.epoch))
        if len(told) == 1:
            for job in jobs_in(tmp_path):
                os.kill(job, signal.SIGKILL)

    given = {"data": tiny(), "sweep": 2, **ASKED}
    found = lab.compare(
        out=tmp_path, callbacks=[kill], engine="slurm(cluster='local')", **given
    )
    local = lab.compare(**given)
    for table in TABLES:
        mine, other = (untimed(getattr(r, table)) for r in (found, local))
        assert mine == other and mine
    assert sorted(told) == [(r, e) for r in ASKED["rules"] for e in (0, 1, 2)]
    assert list((tmp_path / "jobs" / "logs").glob("*_log.out"))
    assert not list((tmp_path / "jobs" / "tasks").iterdir())


def jobs_in(folder):
    """The processes of jobs that were submitted from this folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            words = path.read_bytes().split(b"\0")
            if (
                b"submitit.core._submit" in words
                and str(folder).encode() in path.read_bytes()
            ):
                yield int(path.parent.name)


def test_what_submitit_does_not_know_is_named(tmp_path):
    with pytest.raises(lab.LabError, match=r"submitit refuses .*'cpu': 2"):
        lab.compare(
            out=tmp_path,
            engine="slurm(cluster='local', cpu=2)",
            **ASKED,
        )
