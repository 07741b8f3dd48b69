"""The page of a comparison, made and parsed."""

from html.parser import HTMLParser

from apical.lab.report._html import page

VOID = {"meta", "link", "br", "hr", "img", "input"}

DRAWING = '<svg viewBox="0 0 1 1"><defs></defs><path d="M 0 0"/></svg>'


class Parsed(HTMLParser):
    """Elements, attributes and words of a page; what is not closed is an error."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.ids = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def made(comparison, figures=("figure", "layers", "cost", "trials")):
    return page(comparison, dict.fromkeys(figures, DRAWING))
