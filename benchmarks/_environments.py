"""Environments and processes of the libraries that apical is timed against."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

_ROOT = Path(__file__).parents[1]
_SCRIPTS = Path(__file__).with_name("peers")
_CACHE = _ROOT / ".cache" / "peers"
_LONGEST = 900  # seconds that one installation may take


class UnavailableError(RuntimeError):
    """An environment that could not be created, or a worker that did not answer."""


@dataclass(frozen=True)
class Library:
    """A library in its own environment.

    Attributes:
      name: its name in the table.
      script: its worker, in `benchmarks/peers`.
      installs: the arguments of `pip install`, one call after the other; none: it runs
        in the environment of the benchmark.
    """

    name: str
    script: str
    installs: tuple[tuple[str, ...], ...] = ()


APICAL = Library("apical", "apical_worker.py")
FABRICPC = Library("FabricPC", "fabricpc_worker.py", (("fabricpc[cpu]==0.6.0",),))
# On the JAX that it asks for (below 0.5), and on the one that apical has.
PCX = Library("PCX", "pcx_worker.py", (("pcx==0.6.3",),))
PCX_NEW = Library(
    f"PCX on JAX {jax.__version__}",
    "pcx_worker.py",
    (
        (f"jax[cpu]=={jax.__version__}", "equinox", "optax"),
        ("--no-deps", "pcx==0.6.3"),
    ),
)
PEERS = (FABRICPC, PCX, PCX_NEW)

# Exact spike times.
SPIKES = Library("apical", "spikes_worker.py")
JAXSNN = Library(
    "jaxsnn", "jaxsnn_worker.py", ((f"jax[cpu]=={jax.__version__}", "jaxsnn==0.3.0"),)
)
EVENTAX = Library(
    "eventax",
    "eventax_worker.py",
    ((f"jax[cpu]=={jax.__version__}", "eventax==0.1.0"),),
)


def python_of(library: Library, cache: Path = _CACHE) -> Path:
    """The interpreter of a library's environment, which is created if missing.

    Raises:
      UnavailableError: if it cannot be created.
    """
    if not library.installs:
        return Path(sys.executable)
    told = json.dumps([library.installs, sys.version]).encode()
    home = cache / f"{library.script[:-10]}-{hashlib.sha256(told).hexdigest()[:12]}"
    python, made = home / "bin" / "python", home / "made"
    if not made.exists():
        _run([sys.executable, "-m", "venv", "--clear", str(home)], library)
        for each in library.installs:
            _run([str(python), "-m", "pip", "install", "--quiet", *each], library)
        made.touch()
    return python


def _run(command: Sequence[str], library: Library) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LONGEST, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"no environment for {library.name}: {error}") from error
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise UnavailableError(f"no environment for {library.name}: {told[-1]}")


class Worker:
    """A process that builds and times the calls of one library."""

    def __init__(self, library: Library, cache: Path = _CACHE) -> None:
        self.library = library
        path = "" if library.installs else str(_ROOT / "src")
        self._process = subprocess.Popen(
            [str(python_of(library, cache)), str(_SCRIPTS / library.script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.told = self._answer()

    def ask(self, do: str, **told: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **told}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        found = json.loads(line)
        if "error" in found:
            raise UnavailableError(f"{self.library.name}: {found['error']}")
        return found

    def _ended(self) -> UnavailableError:
        self._process.communicate()  # closes its pipes
        code = self._process.returncode
        return UnavailableError(f"{self.library.name}: its worker ended ({code})")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A worker whose input is closed ends.
        self._process.communicate()
