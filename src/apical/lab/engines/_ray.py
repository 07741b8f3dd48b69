"""`RayEngine`: a Ray task for each rule on each model."""

import os
import pickle
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from apical.lab._errors import LabError, require_package
from apical.lab.engines._engine import Engine, Failed, Lost, Message, RuleTask, Workers
from apical.lab.engines._worker import Payload, pack, work
from apical.lab.run._plan import Plan
from apical.lab.run._records import environment
from apical.lab.storage._jsonl import Line

_WORDS = ("auto", "local")  # that Ray knows, in place of an address
_ANSWER = 5.0  # seconds in which the head of a cluster must accept a connection
_LOOK = 2.0  # seconds without a message after which it is asked whether it is there


@dataclass(frozen=True)
class RayEngine(Engine):
    """Train every rule on every model as a task of a Ray cluster.

    Args:
        address: `"host:port"` of the head of a cluster; `"auto"`: the cluster that this
            machine is a node of. None: what RAY_ADDRESS names, or else Ray on this
            machine alone. If `ray.init` was called before, its connection is used.
        cpus: CPUs that Ray reserves for a task.
        gpus: GPUs that Ray reserves for a task.
        retries: how often a task is started again whose worker was lost.

    Raises:
        LabError: for an invalid argument.

    Example:
        >>> from apical import lab
        >>> lab.RayEngine(address="10.0.0.1:6379", cpus=8).cpus
        8

    Source: Moritz et al. 2018, "Ray: a distributed framework for emerging AI
    applications".
    """

    address: str | None = None
    cpus: float = 1
    gpus: float = 0
    retries: int = 3

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("cpus", "gpus", "retries"):
            number = getattr(self, name)
            if not isinstance(number, int | float) or not number >= 0:
                raise LabError(f"--engine ray: {name}={number!r} must be at least 0")
        if self.address is not None:
            _require_address(self.address)

    @contextmanager
    def connected(self, folder: Path | None) -> Iterator["RayWorkers"]:
        """Connect to the cluster, or start Ray on this machine."""
        ray = require_package("ray", "ray", "--engine ray")
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray)
        try:
            yield RayWorkers(ray, self)
        finally:
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        address = self.address or os.environ.get("RAY_ADDRESS")
        if address is not None:
            _require_address(address)
            if address not in _WORDS and not _answers(address):
                raise _no_cluster(address, "nothing listens there")
        try:
            with warnings.catch_warnings():
                # JAX warns of forks; those of Ray run another program at once.
                warnings.filterwarnings("ignore", ".*os.fork", RuntimeWarning)
                ray.init(address=address, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _no_cluster(address, str(error)) from error


class RayWorkers(Workers):
    """The workers of a Ray cluster."""

    def __init__(self, ray: Any, engine: RayEngine):
        self._ray, self._engine = ray, engine
        self._head: str = ray.get_runtime_context().gcs_address
        self._running: dict[Any, int] = {}
        self._require_resources()

    def environment(self) -> Line:
        """That of the first worker that is free."""
        ray = self._ray
        asked = ray.remote(environment).options(**self._options()).remote()
        while not ray.wait([asked], timeout=_LOOK)[0]:
            self._require_head()
        try:
            return ray.get(asked)
        except ray.exceptions.RayError as error:
            raise LabError(
                f"--engine ray: a worker cannot import apical ({_told(error)}): "
                "install apical[lab,ray] on every node"
            ) from error

    def begin(self, plan: Plan, follow: bool, resume: bool) -> None:
        """Put the plan into the cluster's memory, once for all tasks."""
        packed = pack(plan, follow, self._ray.cloudpickle.dumps)
        self._payload = self._ray.put(pickle.dumps(packed))

    def submit(self, tasks: dict[int, RuleTask]) -> None:
        """One Ray task each, spread over the nodes."""
        # Not retried by Ray: the next try is given the stages that have ended.
        options = {"max_retries": 0, "num_returns": "streaming", **self._options()}
        remote = self._ray.remote(messages).options(**options)
        for number, task in tasks.items():
            self._running[remote.remote(self._payload, task)] = number

    def receive(self) -> tuple[int, Message]:
        """The next message of any task."""
        ray = self._ray
        while True:
            ready, _ = ray.wait(list(self._running), num_returns=1, timeout=_LOOK)
            if not ready:
                self._require_head()
                continue
            (stream,) = ready
            number = self._running[stream]
            try:
                return number, ray.get(next(stream))
            except StopIteration:
                del self._running[stream]
            except ray.exceptions.RayTaskError as error:  # before `work` began
                del self._running[stream]
                return number, Failed("a node", type(error).__name__, str(error))
            except ray.exceptions.RayError as error:
                del self._running[stream]
                self._require_head()
                return number, Lost(_told(error))

    def cancel(self) -> None:
        """End all tasks that have not ended."""
        for stream in self._running:
            self._ray.cancel(stream, force=True)
        self._running.clear()

    def _options(self) -> dict[str, Any]:
        engine = self._engine
        options: dict[str, Any] = {
            "num_cpus": engine.cpus,
            "num_gpus": engine.gpus,
            "scheduling_strategy": "SPREAD",
        }
        if "XLA_FLAGS" in os.environ:  # they may change numbers
            flags = {"XLA_FLAGS": os.environ["XLA_FLAGS"]}
            options["runtime_env"] = {"env_vars": flags}
        return options

    def _require_head(self) -> None:
        if not any(_answers(self._head) for _ in range(3)):
            raise LabError(
                f"the Ray cluster at {self._head} does not answer any more. What has "
                "ended is kept: start the cluster, then resume"
            )

    def _require_resources(self) -> None:
        wanted = {"CPU": self._engine.cpus, "GPU": self._engine.gpus}
        nodes = [n["Resources"] for n in self._ray.nodes() if n["Alive"]]
        if not any(all(n.get(r, 0) >= x for r, x in wanted.items()) for n in nodes):
            warnings.warn(
                f"no node of the Ray cluster has {self._engine.cpus:g} CPUs and "
                f"{self._engine.gpus:g} GPUs now: tasks wait until one joins",
                stacklevel=2,
            )


def messages(payload: bytes, task: RuleTask) -> Iterator[Message]:
    """Do a task, and yield its messages while it runs."""
    unpacked: Payload = pickle.loads(payload)
    queue: SimpleQueue[Message | None] = SimpleQueue()

    def working() -> None:
        work(unpacked, task, queue.put)
        queue.put(None)

    Thread(target=working, daemon=True).start()
    while (message := queue.get()) is not None:
        yield message


def _require_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    valid = host and port.isdecimal() and "://" not in address
    if not valid and address not in _WORDS:
        raise LabError(
            f"--engine ray: the address {address!r} is not host:port. Name the head of "
            "a cluster as `ray start --head` prints it (10.0.0.1:6379), and run the "
            "comparison on a node of the cluster"
        )


def _answers(address: str) -> bool:
    """Whether a connection is accepted at host:port."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER):
            return True
    except OSError:
        return False


def _no_cluster(address: str | None, reason: str) -> LabError:
    where = "on this machine" if address in (None, *_WORDS) else f"at {address}"
    return LabError(
        f"--engine ray: no Ray cluster answers {where} ({_told(reason)}). Start one "
        "(`ray start --head` on one machine, `ray start --address=HOST:6379` on the "
        "others) and name its address, or leave --address out to use this machine alone"
    )


def _told(error: object) -> str:
    """The first sentence of what Ray says, in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
