"""The code of the README and of the pages runs from top to bottom."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    str(page.relative_to(ROOT))
    for page in [
        ROOT / "README.md",
        *sorted(ROOT.glob("docs/*.md")),
        *sorted(ROOT.glob("docs/rules/*.md")),
    ]
    if "```python" in page.read_text("utf-8")
]


def python_blocks(text: str) -> str:
    """The fenced `python` blocks of a page, each line on its own line number."""
    inside, lines = False, []
    for line in text.splitlines():
        fence = re.match(r"```(\w*)", line)
        lines.append(line if inside and not fence else "")
        inside = fence[1] == "python" if fence else inside
    return "\n".join(lines)


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    code = python_blocks((ROOT / page).read_text("utf-8"))
    assert code.strip(), f"{page} has no python blocks"
    for package in packages_of(code) & OPTIONAL.keys():
        pytest.importorskip(OPTIONAL[package], reason=f"needs apical[{package}]")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec"), {"__name__": "page"})


def test_the_pages_with_code_are_found():
    assert {"README.md", "docs/write-a-rule.md", "docs/your-own-model.md"} <= set(PAGES)


def test_only_python_blocks_are_run_and_keep_their_lines():
    page = "words\n```python\nx = 1\n```\n```sh\nmake\n```\n```python\ny = 2\n```\n"
    assert python_blocks(page) == "\n\nx = 1\n\n\n\n\n\ny = 2\n"


# ------------------------------------------------------------------ length and links

README = (ROOT / "README.md").read_text("utf-8")


def test_the_readme_has_at_most_130_lines():
    assert README.count("\n") <= 130


def anchors(page: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    words = (re.sub(r"[^\w -]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in words}


def broken_links(text: str) -> list[str]:
    """The relative links of a text at the root that lead to nothing."""
    broken = []
    for link in re.findall(r"\]\(([^)]+)\)", text):
        name, _, anchor = link.partition("#")
        path = ROOT / (name or "README.md")
        if "://" in link or (path.exists() and not anchor):
            continue
        if not path.is_file() or anchor not in anchors(path.read_text("utf-8")):
            broken.append(link)
    return broken


def test_the_links_of_the_readme_lead_somewhere():
    assert broken_links(README) == []


def test_a_broken_link_would_be_seen():
    lost = ["docs/gone.md", "docs/rules.md#gone", "#gone"]
    text = "".join(f"[x]({link})" for link in [*lost, "docs/rules.md#perturbation"])
    assert broken_links(text) == lost


# ----------------------------------------------------------------- what is installed

CORE = {"apical", "jax", "numpy", "optax", *sys.stdlib_module_names}
EXTRAS = {  # what they bring
    "keras": {"keras"},
    "lab": {"equinox", "matplotlib", "rich", "sklearn"},
    "ray": {"ray"},
    "rsa": {"rsatoolbox"},
    "tensorboard": {"tensorboardX"},
    "torch": {"torch"},
}
CALLED = {"haiku": "dm-haiku", "orbax": "orbax-checkpoint"}  # by pip
# Extras that the tests can do without, by what a page imports.
OPTIONAL = {"torch": "torchax", "keras": "keras", "ray": "ray"}


def packages_of(code: str) -> set[str]:
    """The packages that a page imports, or cannot do without."""
    nodes = list(ast.walk(ast.parse(code)))
    named = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    named += [str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)]
    if ".frame(" in code:
        named.append("pandas")
    if "RayEngine(" in code:
        named.append("ray")
    return {name.partition(".")[0] for name in named} - CORE


def not_told(text: str) -> set[str]:
    """What a page needs beside apical, and has no `pip install` for."""
    told = set(" ".join(re.findall(r"pip install ([^#\n]*)", text)).split())
    needed = packages_of(python_blocks(text))
    extras = re.findall(r"\.\[([\w,]+)\]", " ".join(told))
    for extra in ",".join(extras).split(","):
        needed -= EXTRAS.get(extra, set())
    return {name for name in needed if CALLED.get(name, name) not in told}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_is_to_be_installed(page):
    assert not_told((ROOT / page).read_text("utf-8")) == set()


def test_what_is_not_said_would_be_seen():
    page = "```python\nimport flax.linen, jax\nfrom equinox import nn\n```\n"
    assert not_told(page) == {"flax", "equinox"}
    assert not_told(f"{page}\npip install -e '.[lab]' flax  # two") == set()


# ------------------------------------------------------------------------ the names


def names_said(text: str) -> set[str]:
    """The dotted names of apical that a text says, but for files and imports."""
    found = set(re.findall(r"(?<![\w./])(?<!from )apical(?:\.\w+)+", text))
    return {name for name in found if not name.endswith((".md", ".py"))}


_LOOK = """
import sys
assert not {"apical.lab", "apical.testing"} & set(sys.modules)
for name in sys.argv[1:]:
    try:
        eval(name)
    except AttributeError:
        print(name)
    except ImportError:  # the packages of these are not installed here
        assert name.startswith(("apical.interop.keras", "apical.interop.torch"))
"""


def missing_after(line: str, names: set[str]) -> list[str]:
    """Which names a new interpreter lacks after this line; here others are there."""
    command = [sys.executable, "-c", line + _LOOK, *sorted(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_import_apical_is_enough_for_every_name_that_a_page_says():
    # The reference is left out: it is headed by modules, to be imported as such.
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.py")]
    pages += ROOT.glob("docs/notebooks/*.ipynb")
    names = set().union(*(names_said(page.read_text("utf-8")) for page in pages))
    assert {"apical.testing.check_rule", "apical.lab.compare"} <= names
    names |= {"apical.no_such_name"}  # the control
    assert missing_after("import apical", names) == ["apical.no_such_name"]
