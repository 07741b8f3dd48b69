"""`SlurmEngine`: a job of Slurm for each rule on each model, through submitit.

Jobs and driver talk through files in a folder `jobs` of the output folder, which all
nodes share: each message is one file, written whole, and removed once it is read. A job
keeps its lines and its checkpoint there too, so that it continues when Slurm requeues
it, or when the comparison is resumed.
"""

import pickle
import shutil
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from apical.lab._errors import LabError, require_package
from apical.lab.engines._engine import (
    Ended,
    Engine,
    Failed,
    Lost,
    Message,
    RuleTask,
    Workers,
)
from apical.lab.engines._worker import pack, work
from apical.lab.run._plan import Plan
from apical.lab.run._records import environment
from apical.lab.storage._checksums import checksum
from apical.lab.storage._jsonl import Line, replace_file

_LOOK = 0.5  # seconds between two looks for messages
_DEFAULTS = {"name": "apical", "timeout_min": 240}  # of submitit: 5 minutes
_LATE = 10.0  # seconds that files of a job that has ended may take to be seen


class SlurmEngine(Engine):
    """Train every rule on every model as a job of Slurm, in job arrays.

    Args:
        cluster: `"slurm"`, or `"local"`: processes of this machine, all at once.
        retries: how often a task is submitted again whose job ended without a result.
        parameters: of `submitit.AutoExecutor.update_parameters`: `timeout_min`,
            `mem_gb`, `cpus_per_task`, `gpus_per_node`, `slurm_partition`,
            `slurm_account`, `slurm_array_parallelism`, ...

    Raises:
        LabError: for an invalid argument.

    Example:
        >>> from apical import lab
        >>> engine = lab.SlurmEngine(slurm_partition="gpu", gpus_per_node=1)

    Source: Yoo, Jette & Grondona 2003, "SLURM: simple Linux utility for resource
    management".
    """

    def __init__(self, cluster: str = "slurm", retries: int = 3, **parameters: Any):
        if cluster not in ("slurm", "local"):
            raise LabError(f"--engine slurm: cluster={cluster!r} is not slurm or local")
        if type(retries) is not int or retries < 0:
            raise LabError(f"--engine slurm: retries={retries!r} must be at least 0")
        self.cluster, self.retries, self.parameters = cluster, retries, parameters

    @contextmanager
    def connected(self, folder: Path | None) -> Iterator["SlurmWorkers"]:
        """Find the commands of Slurm; there is no connection."""
        if folder is None:
            raise LabError(
                "--engine slurm needs out=, a folder that all nodes share: jobs leave "
                "their results in it"
            )
        submitit = require_package("submitit", "slurm", "--engine slurm")
        if self.cluster == "slurm" and not shutil.which("sbatch"):
            raise LabError(
                "--engine slurm: there is no sbatch here. Start the comparison on a "
                "login node of the cluster; to try it on this machine: "
                "slurm(cluster='local')"
            )
        if folder.exists() and not folder.is_dir():
            raise LabError(f"cannot write to {folder}, which is a file")
        jobs = folder.absolute() / "jobs"
        try:
            executor = submitit.AutoExecutor(jobs / "logs", cluster=self.cluster)
            executor.update_parameters(**_DEFAULTS | self.parameters)
        except (AssertionError, NameError, TypeError, ValueError) as error:
            raise LabError(
                f"--engine slurm: submitit refuses {self.parameters}: {error}"
            ) from error
        workers = SlurmWorkers(executor, jobs)
        try:
            yield workers
        finally:
            workers.close()


class SlurmWorkers(Workers):
    """The jobs of a comparison.

    Args:
        executor: of submitit.
        folder: for messages, results of tasks, and logs.
    """

    def __init__(self, executor: Any, folder: Path):
        self._executor, self._folder = executor, folder
        self._jobs: dict[int, Any] = {}
        self._submitted: list[Any] = []
        self._read: deque[tuple[int, Message]] = deque()
        self._ended: dict[int, float] = {}  # when a job was first seen to have ended
        self._places: dict[int, Path] = {}

    def environment(self) -> Line:
        """That of a first, short job."""
        job = self._executor.submit(environment)
        self._jobs[-1] = job
        self._submitted.append(job)
        try:
            return job.result()
        except Exception as error:
            raise LabError(
                f"--engine slurm: the first job failed ({error}). Logs are in "
                f"{self._folder / 'logs'}"
            ) from error
        except BaseException:
            self.cancel()
            raise
        finally:
            self._jobs.pop(-1, None)

    def begin(self, plan: Plan, follow: bool, resume: bool) -> None:
        """Write the plan into the folder; earlier work is removed, or continued."""
        self._end_earlier_jobs()
        tasks = self._folder / "tasks"
        if not resume:
            shutil.rmtree(tasks, ignore_errors=True)
        tasks.mkdir(parents=True, exist_ok=True)
        dumps = require_package("cloudpickle", "slurm", "--engine slurm").dumps
        self._plan = self._folder / "plan.pickle"
        replace_file(self._plan, pickle.dumps(pack(plan, follow, dumps)))

    def submit(self, tasks: dict[int, RuleTask]) -> None:
        """A job array with a job for each task."""
        for number, task in tasks.items():
            self._places[number] = self._place(task)
        places = [self._places[number] for number in tasks]
        for place in places:
            shutil.rmtree(place / "messages", ignore_errors=True)
            (place / "messages").mkdir(parents=True)
        plans = [self._plan] * len(tasks)
        jobs = self._executor.map_array(run_job, plans, tasks.values(), places)
        self._jobs |= zip(tasks, jobs, strict=True)
        self._submitted += jobs
        self._write_ids()

    def receive(self) -> tuple[int, Message]:
        """The next message of any job."""
        while not self._read:
            for number in list(self._jobs):
                self._look(number)
            if not self._read:
                time.sleep(_LOOK)
        number, message = self._read.popleft()
        if isinstance(message, Ended | Failed | Lost):
            self._jobs.pop(number, None)
        if isinstance(message, Ended):  # its lines are in the comparison
            shutil.rmtree(self._places[number], ignore_errors=True)
        return number, message

    def cancel(self) -> None:
        """Cancel all jobs, in the queue or running."""
        for job in self._jobs.values():
            job.cancel(check=False)
        self._jobs.clear()

    def close(self) -> None:
        """Wait for processes of this machine, which end after their last message."""
        if self._executor.cluster == "local":
            for job in self._submitted:
                job.wait()

    def _look(self, number: int) -> None:
        """Read the messages of a job, and see whether it has ended without the last."""
        found = list(_messages(self._places[number]))
        self._read += [(number, message) for message in found]
        if found or not self._jobs[number].done():
            self._ended.pop(number, None)
            return
        # A file system over a network shows files late.
        since = self._ended.setdefault(number, time.monotonic())
        if time.monotonic() - since > _LATE or self._executor.cluster == "local":
            del self._ended[number]
            left = list(_messages(self._places[number]))
            state = self._jobs[number].state
            lost = [Lost(f"its job ended without a result, as {state}")]
            self._read += [(number, message) for message in left or lost]

    def _place(self, task: RuleTask) -> Path:
        """The folder of a task; a name may hold any character."""
        kept = "".join(c if c.isalnum() else "-" for c in f"{task.model}-{task.rule}")
        name = f"{kept[:80]}-{checksum([task.model, task.rule])}"
        return self._folder / "tasks" / name

    def _write_ids(self) -> None:
        ids = [job.job_id for number, job in self._jobs.items() if number >= 0]
        replace_file(self._folder / "ids", "\n".join(ids).encode())

    def _end_earlier_jobs(self) -> None:
        """Cancel the jobs of a driver that was killed."""
        ids = self._folder / "ids"
        if ids.exists() and self._executor.cluster == "slurm":
            submitit = require_package("submitit", "slurm", "--engine slurm")
            for one in ids.read_text().split():
                submitit.SlurmJob(self._folder / "logs", one).cancel(check=False)


def run_job(plan: Path, task: RuleTask, place: Path) -> None:
    """Do a task, and leave its messages in its folder."""
    payload = pickle.loads(plan.read_bytes())

    def send(message: Message) -> None:
        # Named by the time: a job that is requeued goes on where it was.
        file = place / "messages" / f"{time.time_ns():020d}.pickle"
        replace_file(file, pickle.dumps(message))

    # A job that a driver left behind when it was killed may still be at it.
    with FileLock(place / ".lock"):
        store = place / "store"
        store.mkdir(exist_ok=True)
        work(payload, task, send, store)


def _messages(place: Path) -> Iterator[Message]:
    """The messages of a task that have not been read, oldest first."""
    for file in sorted((place / "messages").glob("*.pickle")):
        yield pickle.loads(file.read_bytes())
        file.unlink()
