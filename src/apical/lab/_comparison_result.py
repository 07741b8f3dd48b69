"""`Comparison`: the results of a comparison, as tables, data frames and figures."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from rich.console import RenderableType
from rich.table import Table

from apical.lab._errors import LabError, resolve_names
from apical.lab.report._html import fragment
from apical.lab.report._report import write_report
from apical.lab.report._summary import Row, flat, summarise
from apical.lab.report._terminal_table import counted, regime_table, table
from apical.lab.report.figures._curves import PANELS, draw_panel
from apical.lab.run._plan import shared
from apical.lab.run._records import Line
from apical.lab.storage._jsonl import read
from apical.lab.storage._output_dir import read_settings
from apical.lab.storage._results import require_runs, require_same

_LINES = ("records", "layers", "trials", "costs", "regimes")


@dataclass(frozen=True, repr=False)
class Comparison:
    """The results of a comparison.

    `print` shows a summary in one line, a notebook the table, and
    `rich.print(result.table)` the table in a terminal. `frame()` returns a pandas
    DataFrame, and `plot(axes)` draws into your own figure.

    Attributes:
        records: losses, score and times, for each model, rule, seed and epoch.
        layers: alignment, for each of these and each parameter.
        trials: the trials of a sweep.
        costs: time, FLOPs, memory and sequential depth, for each model and rule.
        regimes: of free predictive coding, before training and after the last epoch:
            residual, curvature, and what the update is nearest to.
        settings: arguments and versions.
    """

    records: list[Line]
    layers: list[Line] = field(default_factory=list)
    trials: list[Line] = field(default_factory=list)
    costs: list[Line] = field(default_factory=list)
    regimes: list[Line] = field(default_factory=list)
    settings: Line = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path) -> "Comparison":
        """The comparison in this folder, complete or not."""
        folder = Path(folder)
        files = [folder / f"{name}.jsonl" for name in _LINES]
        if not files[0].is_file():
            raise LabError(
                f"{files[0]}: there is no such file; was another --out used?"
            )
        lines = [read(file, missing_ok=True, strict=True) for file in files]
        settings = read_settings(folder)
        for file, mine in zip(files, lines, strict=True):
            require_runs(mine, settings, str(file))
            require_same(mine, shared(settings), str(file))
        return cls(*lines, settings=settings)

    def __repr__(self) -> str:
        if not self.records:
            return "Comparison(no records yet)"
        first = self.records[0]
        models, rules = (
            {line[of] for line in self.records} for of in ("model", "rule")
        )
        parts = (
            *(counted(len(models), "model"), counted(len(rules), "rule")),
            *(counted(first["seeds"], "seed"), counted(first["epochs"], "epoch")),
        )
        return f"Comparison({first['data']}: {', '.join(parts)})"

    def _repr_html_(self) -> str:
        return fragment(self)

    @property
    def rows(self) -> list[Row]:
        """One row per model and rule."""
        return summarise(self.records, self.costs, self.trials, regimes=self.regimes)

    @property
    def table(self) -> Table:
        """The rows as a table, to be printed by rich."""
        return table(self.records, self.rows)

    @property
    def regime_table(self) -> RenderableType:
        """The regimes of predictive coding as a table, to be printed by rich."""
        return regime_table(self.regimes)

    def frame(self, of: str = "records") -> Any:
        """The lines as a `pandas.DataFrame`.

        Args:
            of: `"records"`, `"layers"`, `"trials"`, `"costs"` or `"regimes"`; or
                `"rows"`, in which a mean over seeds and half of its 95 % interval are
                two columns: `accuracy` and `accuracy_half`.

        Raises:
            LabError: for any other name.
            ImportError: without pandas.
        """
        (of,) = resolve_names("kind of line", [of], (*_LINES, "rows"))
        try:
            import pandas
        except ModuleNotFoundError as missing:
            raise ImportError(
                "Comparison.frame needs pandas: pip install pandas. Without it, the "
                f"lines are the list of dictionaries `.{of}`"
            ) from missing
        lines = [flat(row) for row in self.rows] if of == "rows" else getattr(self, of)
        return pandas.DataFrame(lines)

    def plot(self, axes: Axes, panel: str = "score", model: str | None = None) -> Axes:
        """Draw a panel of the report's first figure on axes of matplotlib.

        Every rule has the colour and marker that it has in the report; call
        `axes.legend()` for a legend.

        Args:
            axes: where to draw.
            panel: `"score"` or `"alignment"` over the epochs (mean and 95 % interval),
                or `"time"`: the last score against the time of a step.
            model: which model (default: the first).

        Returns:
            The same axes.

        Raises:
            LabError: for any other panel, or a model that was not compared.
        """
        (panel,) = resolve_names("panel", [panel], PANELS)
        models = list(dict.fromkeys(row.model for row in self.rows))
        (model,) = resolve_names(
            "model", [models[0] if model is None else model], models
        )
        draw_panel(axes, panel, model, self.records, self.rows)
        return axes

    def save_report(self, folder: str | Path) -> None:
        """Draw the figures (PNG and SVG) and write the report `report.html`."""
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            write_report(self, Path(folder))
        except OSError as error:
            raise LabError(
                f"cannot write to {folder} ({error.strerror or error}): name another "
                "folder"
            ) from error
