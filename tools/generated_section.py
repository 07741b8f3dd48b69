"""Replacement of the generated section of a page, which stands between two comments."""


def replaced(page: str, begin: str, section: str, end: str) -> str:
    """The page with this section between the two comments."""
    before, rest = page.split(begin)
    after = rest.split(end, 1)[1]
    return f"{before}{begin}\n\n{section}\n\n{end}{after}"
