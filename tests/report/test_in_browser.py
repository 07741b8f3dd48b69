"""The page in a browser: sorting, filters and sliders, where Chromium is installed."""

import re
import shutil
import subprocess

import pytest
from support.pages import Parsed

from apical.report import kept_results, page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--virtual-time-budget=2000", "--dump-dom"),
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium"),
]


def after(script, folder):
    """The text of the page after its own scripts and this one have run."""
    whole = page(kept_results())
    file = folder / "page.html"
    begin, end = whole.rsplit("</body>", 1)
    file.write_text(f"{begin}<script>{script}</script></body>{end}", "utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [str(BROWSER), *OPTIONS, profile, file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown_names(dom):
    body = dom[dom.index('<table id="all"') : dom.index("</table>")]
    rows = re.findall(r"<tr data-better[^>]*>.*?</tr>", body, re.DOTALL)
    visible = [row for row in rows if "hidden" not in row.partition(">")[0]]
    return [re.findall(r'href="#[^"]*">([^<]+)<', row)[0] for row in visible]


def test_filters_and_results_are_there_once_scripts_run(tmp_path):
    dom = after("", tmp_path)
    assert '<form id="filter">' in dom and '<div id="credences">' in dom
    said = Parsed(re.sub(r"<noscript>.*?</noscript>", "", dom, flags=re.DOTALL)).text
    assert re.search(r"(\d+) of \1 rules shown", said)
    assert "your credence that a new learning algorithm is needed is 50 %" in said


def test_a_ready_filter_leaves_the_rules_that_fit(tmp_path):
    click = "document.querySelector('button[data-preset]').click();"
    names = shown_names(after(click, tmp_path))
    assert "backpropagation" not in names and len(names) < 20


def test_a_click_on_a_header_sorts_and_unknown_values_are_last(tmp_path):
    click = "document.querySelectorAll('#all thead button')[3].click();"
    dom = after(click, tmp_path)
    found = kept_results().rules
    best = max(found, key=lambda name: found[name].accuracy.mean)
    names = shown_names(dom)
    assert names[0] == best and names[-1] not in found
    assert len(re.findall('<th[^>]*aria-sort="descending"', dom)) == 1


def test_what_follows_from_the_sliders_is_what_the_text_without_them_says(tmp_path):
    move = (
        "for (const [id, value] of [['w-impossible', 100], ['w-possible', 0],"
        "['w-plausible', 0], ['w-actual', 100], ['p-impossible', 80],"
        "['p-actual', 10], ['q-0', 0]]) document.getElementById(id).value = value;"
        "for (const id of ['sauce', 'abilities'])"
        "document.getElementById(id).dispatchEvent(new Event('input'));"
    )
    dom = after(move, tmp_path)
    assert "a new learning algorithm is needed is 45 %" in dom
    rows = re.findall(
        r'<tr><th scope="row">([\w-]+)</th><td>([\d.]+)</td><td>([\d.]+)</td>', dom
    )
    able = {name: (float(least), float(most)) for name, least, most in rows}
    assert able["backpropagation"] == (0, 0)
    assert all(least <= most for least, most in able.values())
    assert able["stdp"][1] > 0
