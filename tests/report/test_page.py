"""The page: whole, self-contained, and readable by screen readers and in both modes."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from support.comparison_lines import comparison, refused, run
from support.pages import Parsed

from apical.claims import kept_claims
from apical.lab import NOT_COMPARED, RULES
from apical.lab.report._html_table import percent, points
from apical.lab.report.figures._style import NAMED
from apical.report import kept_results, page, results_of
from apical.report._palette import COLOURS
from apical.report._placement import PLACES
from apical.report._plot import in_words, small_plot
from apical.report._results import RuleResult
from apical.rules.tools import NEEDS

TEMPTING = '<script>alert("1")</script>&amp;'


class Elements(HTMLParser):
    """Every element of a page in order, with its attributes and its text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.inside = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))
        if tag not in ("meta", "link", "input", "br"):
            self.inside.append(self.found[-1])

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1][0] == tag:
            self.inside.pop()

    def handle_data(self, data):
        for _, _, words in self.inside:
            words.append(data)

    def all(self, *tags):
        return [
            (attributes, " ".join(" ".join(words).split()))
            for tag, attributes, words in self.found
            if tag in tags
        ]


@pytest.fixture(scope="module")
def text():
    return page(kept_results())


@pytest.fixture(scope="module")
def elements(text):
    return Elements(text)


# ---------------------------------------------------------------- the file


def test_the_page_is_whole_and_asks_nothing_of_the_network(text):
    found = Parsed(text)
    assert len(found.ids) == len(set(found.ids)) > 60
    assert not {"img", "iframe", "object", "embed", "base"} & set(found.tags)
    for tag, name, value in found.attributes:
        if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert value.startswith("#") or value == "data:,", (tag, name, value)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttp|https?:|WebSocket", text)
    assert "default-src 'none'" in text
    assert not re.search(r"\b(nan|inf|None)\b", found.text)


def test_links_within_the_page_lead_somewhere(elements):
    ids = {attributes.get("id") for _, attributes, _ in elements.found}
    links = [a["href"] for a, _ in elements.all("a")]
    assert len(links) > len(RULES)
    assert {link[1:] for link in links} <= ids


def test_what_others_wrote_is_shown_and_never_run():
    records = run() + run(rule=TEMPTING, data=TEMPTING) + refused(rule="other")
    for line in records:
        line["data"] = TEMPTING
    text = page(results_of(comparison(records)))
    assert "<script>alert" not in text and text.count("<script>") == 1
    assert Parsed(text).text.count(TEMPTING) >= 3


# ---------------------------------------------------------------- for every reader


def test_headings_are_in_order(elements):
    levels = [
        int(tag[1]) for tag, _, _ in elements.found if re.fullmatch("h[1-6]", tag)
    ]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_control_has_a_label_and_every_group_a_legend(elements):
    labels = {a["for"]: words for a, words in elements.all("label")}
    controls = elements.all("input", "select")
    assert len(controls) == 2 * len(NEEDS) + 8 + 1
    for attributes, _ in controls:
        assert labels[attributes["id"]]
    assert len(elements.all("fieldset")) == len(elements.all("legend")) == 4
    inputs = {a["id"] for a, _ in controls}
    assert all(a["for"] in inputs for a, _ in elements.all("output"))


def test_tables_have_captions_and_every_head_says_of_what_it_is(elements):
    captions = elements.all("caption")
    assert len(captions) == len(elements.all("table")) == 3
    assert all(words for _, words in captions)
    assert {a.get("scope") for a, _ in elements.all("th")} == {"col", "row"}
    for attributes, _ in elements.all("div"):
        if attributes.get("class") == "scroll":  # with the keyboard, and named
            assert attributes["tabindex"] == "0" and attributes["role"] == "region"
            assert attributes["aria-labelledby"] in {a["id"] for a, _ in captions}


def test_every_picture_has_words(elements):
    pictures = [a for a, _ in elements.all("svg")]
    assert len(pictures) == len(kept_results().rules)
    assert all(a["role"] == "img" and a["aria-label"] for a in pictures)


def test_landmarks_language_and_what_is_said_live(elements):
    assert elements.all("html")[0][0]["lang"] == "en"
    assert len(elements.all("main")) == len(elements.all("header")) == 1
    names = [a["aria-label"] for a, _ in elements.all("nav")]
    assert len(set(names)) == len(names) == 2
    assert [a["id"] for a, _ in elements.all("p") if a.get("role") == "status"] == [
        *("count", "sauce-result", "abilities-result")
    ]


def test_without_javascript_the_page_says_what_is_missing(elements, text):
    said = [words for _, words in elements.all("noscript")]
    assert len(said) == 2 and all("JavaScript" in words for words in said)
    assert "sum of w p divided by the sum of w" in said[1]
    # What needs it is not shown before it runs.
    assert '<form id="filter" hidden>' in text
    assert '<div id="credences" hidden>' in text


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula_of_contrast():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("paper", ["paper", "wash"])
def test_text_and_marks_stand_out(mode, paper):
    palette = {name: getattr(c, mode) for name, c in (NAMED | COLOURS).items()}
    for name in ("ink", "muted", "link"):  # text: WCAG 1.4.3
        assert contrast(palette[name], palette[paper]) >= 4.5, name
    for name in ("line", "mark"):  # controls and pictures: WCAG 1.4.11
        assert contrast(palette[name], palette[paper]) >= 3, name


def test_the_style_uses_no_other_colours_and_each_that_it_uses_exists(text):
    style = text[text.index("<style>") : text.index("</style>")]
    used = set(re.findall(r"var\(--([\w-]+)\)", text))
    assert used <= set(NAMED | COLOURS)
    assert {"ink", "muted", "link", "line", "mark", "paper", "wash", "grid"} == used
    rules = re.sub(r"--[\w-]+: #\w+;", "", style)
    assert not re.search(r"#[0-9a-f]{3,6}\b(?!-)", rules)
    assert "prefers-color-scheme: dark" in style and "@media print" in style


# ---------------------------------------------------------------- what it says


def test_every_rule_is_there_with_place_and_needs(elements):
    words = {a["id"]: said for a, said in elements.all("article")}
    assert len(words) == len(RULES) + len(NOT_COMPARED)
    for name in (*RULES, *NOT_COMPARED):
        said = words[f"rule-{name}"]
        assert said.startswith(name) and "Highest place" in said
        assert any(place in said for place in PLACES) or "control" in said
        assert all(need in said for need in NEEDS)


def test_the_numbers_of_a_rule_are_its_results(elements):
    words = {a["id"]: said for a, said in elements.all("article")}
    mine = kept_results().rules["kolen-pollack"]
    said = words["rule-kolen-pollack"]
    assert percent(mine.accuracy) in said and points(mine.above_control) in said
    assert points(mine.difference) in said
    assert f"{mine.alignment[1]:.2f}" in said
    assert "has no loop" in words["rule-eprop"] or "not part" in words["rule-eprop"]


def test_every_verdict_is_on_the_page(text):
    said = Parsed(text).text
    for name, claim in kept_claims().items():
        assert f"{claim.verdict} : {claim.sentence} ({name})" in said, name


def test_nothing_is_called_actual(elements):
    rows = [words for _, words in elements.all("tr") if words.startswith("actual ")]
    (row,) = rows
    assert "none, ever" in row


def test_a_comparison_makes_the_same_page_with_its_own_rules():
    records = run() + run(rule="my_module:MyRule", needs="global reward", gain=-0.1)
    found = results_of(comparison(records))
    said = Elements(page(found))
    words = {a["id"]: text for a, text in said.all("article")}
    mine = words["rule-my_module-MyRule"]
    assert "not placed" in mine and "Declared, not measured global reward" in mine
    assert "Your rules" in [text for _, text in said.all("h3")]
    assert len(said.all("svg")) == 2


def test_one_seed_shows_nothing_and_a_refused_run_says_so():
    records = run(seeds=1) + run(rule="kolen-pollack", seeds=1) + refused(rule="pepita")
    text = page(results_of(comparison(records)))
    said = Parsed(text).text
    assert "With one seed nothing is shown of 1" in said
    assert not re.search(r"\b(nan|inf|None)\b", said)
    assert "Not compared on this task refused" in said


# ---------------------------------------------------------------- the plots


def numbers(svg, what):
    return [float(each) for each in re.findall(rf"{what}='([-\d.]+)'", svg)]


def test_dots_lie_where_their_numbers_are():
    low = small_plot("a", RuleResult(alignment=(0.0, 0.0), time=1.0))
    high = small_plot("a", RuleResult(alignment=(0.0, 1.0), time=10.0))
    (start, end, time), (_, later, dearer) = numbers(low, "cx"), numbers(high, "cx")
    assert start == end == 66 and later == 250
    assert time < dearer < 250


def test_what_is_not_known_is_not_drawn_and_what_is_far_stays_inside():
    nothing = small_plot("a", RuleResult())
    assert "class='dot'" not in nothing and "nan" not in nothing
    far = RuleResult(alignment=(-1.0, 2.0), time=1e9, memory=1e-9)
    assert all(60 <= x <= 250 for x in numbers(small_plot("a", far), "cx"))


def test_the_words_of_a_plot_have_its_numbers():
    mine = kept_results().rules["pepita"]
    said = in_words("pepita", mine)
    assert points(mine.difference) in said and "time 1.56" in said
    assert "'" not in small_plot("it's", RuleResult()).split("aria-label='")[1][:4]
