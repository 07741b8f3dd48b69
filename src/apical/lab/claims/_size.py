"""How much a claim runs at a scale."""

from typing import Any, NamedTuple


class Size(NamedTuple):
    """How much is run.

    Attributes:
        data: the name of the set.
        trained: training examples; None: all.
        tested: test examples; None: all.
        width: of each hidden layer.
        epochs: through the training part.
        seeds: of reported runs.
        sweep: trials of each rule; 0: the step size below.
        rate: the step size where there is no sweep.
    """

    data: str
    trained: int | None
    tested: int | None
    width: int
    epochs: int
    seeds: int
    sweep: int
    rate: float | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What `compare` is told of it."""
        return {
            "epochs": self.epochs,
            "seeds": self.seeds,
            "sweep": self.sweep,
            "learning_rate": self.rate,
        }
