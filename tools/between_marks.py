"""The generated part of a page: what stands between two marks."""


def replaced(page: str, begin: str, made: str, end: str) -> str:
    """The page with this between its two marks."""
    before, rest = page.split(begin)
    after = rest.split(end, 1)[1]
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"
