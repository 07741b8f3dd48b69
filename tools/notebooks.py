"""Run the notebooks, store their outputs, and write a page of the docs from each.

    python tools/notebooks.py              # all
    python tools/notebooks.py NAME ...     # some

The outputs of a cell are what it prints and the value of its last line: a matplotlib
figure, an object with an HTML form, or its `repr`. `tests/docs/test_notebooks.py` runs
the code again, compares the pages with the notebooks, and detects from a fingerprint
whether the code has changed since the outputs were made.
"""

import ast
import contextlib
import hashlib
import importlib.util
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"
_SVG, _HTML, _TEXT = "image/svg+xml", "text/html", "text/plain"
_FORMS = (_SVG, _HTML, _TEXT)  # the first available one is shown


def notebooks() -> list[Path]:
    """The notebooks, in the order of their names."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> dict[str, Any]:
    """A notebook."""
    return json.loads(path.read_text("utf-8"))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Its cells of code."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def fingerprint(notebook: dict[str, Any]) -> str:
    """A hash of the code."""
    code = "\n\n".join("".join(cell["source"]) for cell in code_cells(notebook))
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def run_cell(source: str, place: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run one cell in a namespace: its printed text and the value of its last line."""
    tree, printed, last = ast.parse(source), io.StringIO(), None
    ends_in_value = bool(tree.body) and isinstance(tree.body[-1], ast.Expr)
    value = tree.body.pop() if ends_in_value else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, place, "exec"), names)
        if isinstance(value, ast.Expr):
            last = eval(compile(ast.Expression(value.value), place, "eval"), names)
    outputs: list[dict[str, Any]] = []
    if text := printed.getvalue():
        lines = text.splitlines(keepends=True)
        outputs.append({"name": "stdout", "output_type": "stream", "text": lines})
    if last is not None:
        data = {form: said.splitlines(keepends=True) for form, said in _shown(last)}
        outputs.append({"data": data, "metadata": {}, "output_type": "display_data"})
    return outputs


def _shown(value: Any) -> list[tuple[str, str]]:
    forms = [(_TEXT, repr(value))]
    if hasattr(value, "savefig"):
        drawn = io.StringIO()
        value.savefig(drawn, format="svg", metadata={"Date": None})
        forms.append((_SVG, drawn.getvalue()))
    elif hasattr(value, "_repr_html_"):
        forms.append((_HTML, value._repr_html_()))
    return forms


def missing(notebook: dict[str, Any]) -> list[str]:
    """The packages that it requires beside `apical[lab]` and that are not installed."""
    required = notebook["metadata"].get("requires", [])
    return [name for name in required if importlib.util.find_spec(name) is None]


def run(path: Path) -> None:
    """Run a notebook and store its outputs."""
    notebook, names = read(path), {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook)):
        source, place = "".join(cell["source"]), f"{path.name}, code cell {number}"
        cell["outputs"] = run_cell(source, place, names)
        cell["execution_count"] = number + 1
    notebook["metadata"]["outputs_of_code"] = fingerprint(notebook)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


def page(path: Path) -> tuple[str, dict[str, str]]:
    """The page of a notebook, and its pictures by file name."""
    pictures: dict[str, str] = {}
    parts: list[str] = []
    for cell in read(path)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            if output["output_type"] == "stream":
                parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
                continue
            form = next(form for form in _FORMS if form in output["data"])
            said = "".join(output["data"][form])
            if form == _SVG:
                name = f"{path.stem}-{len(pictures) + 1}.svg"
                pictures[name] = said
                said = f"![Figure drawn by the cell above](../images/notebooks/{name})"
            elif form == _TEXT:
                said = f"```text\n{said}\n```"
            else:  # a blank line would end the HTML
                said = "\n".join(line for line in said.splitlines() if line.strip())
            parts.append(said)
    parts.insert(1, f"This page is a [notebook]({path.name}), with its outputs.")
    return "\n\n".join(parts) + "\n", pictures


def main(names: list[str]) -> None:
    """Run all or those with these names, and write their pages."""
    chosen = [path for path in notebooks() if not names or path.stem in names]
    if unknown := set(names) - {path.stem for path in chosen}:
        raise SystemExit(f"no such notebook: {', '.join(sorted(unknown))}")
    for path in chosen:
        if absent := missing(read(path)):
            raise SystemExit(f"{path.stem}: install {', '.join(absent)} first")
    os.environ.setdefault("MPLBACKEND", "agg")
    import matplotlib

    matplotlib.rcParams |= {"svg.hashsalt": "apical", "svg.fonttype": "none"}
    images = ROOT / "docs" / "images" / "notebooks"
    images.mkdir(exist_ok=True)
    for path in chosen:
        run(path)
        text, pictures = page(path)
        path.with_suffix(".md").write_text(text, "utf-8")
        for name, drawn in pictures.items():
            (images / name).write_text(drawn, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
