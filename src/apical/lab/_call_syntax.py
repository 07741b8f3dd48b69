"""Parser of names with arguments, as on the command line: `sgd(momentum=0.9)`."""

import ast
import re
from typing import Any, NamedTuple

from apical.lab._errors import LabError

_NAME = re.compile(r"[\w.:-]+")


class NamedCall(NamedTuple):
    """A name and its arguments; `str` writes them as `parse_call` reads them.

    Example:
        >>> str(NamedCall("sgd", {"momentum": 0.9, "nesterov": True}))
        'sgd(momentum=0.9, nesterov=True)'
    """

    name: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        """The text that `parse_call` reads."""
        arguments = ", ".join(
            f"{key}={value!r}" for key, value in self.arguments.items()
        )
        return f"{self.name}({arguments})" if arguments else self.name


def parse_call(text: str, option: str, example: str) -> NamedCall:
    """Parse a name, or a name with arguments. Values are literals; nothing is run.

    Args:
        text: the text.
        option: the option that it is the value of, for messages.
        example: a valid text, for messages.

    Raises:
        LabError: if it is neither.

    Example:
        >>> parse_call("kolen-pollack(decay=0.1)", "--rules", "name(number=0.5)")
        NamedCall(name='kolen-pollack', arguments={'decay': 0.1})
    """
    try:
        return _read(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise LabError(
            f"{option} {text!r} cannot be read ({reason}). Write a name, or a name "
            f"and arguments: {example}"
        ) from error


def parse_call_or_name(name: str) -> NamedCall:
    """Parse the name of a row; any text that cannot be parsed is a name itself."""
    try:
        return _read(name)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return NamedCall(name, {})


def split_names(text: str) -> list[str]:
    """Split at commas, but not inside brackets and quotes.

    Example:
        >>> split_names("a(x=1, y=(2, 3)),b(z='u,v'), c")
        ['a(x=1, y=(2, 3))', "b(z='u,v')", ' c']
    """
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if letter == "," and not depth and not quote:
            parts.append("")
            continue
        parts[-1] += letter
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "([{") - (letter in ")]}")
    return parts


def parse_literal(text: str, option: str) -> Any:
    """Parse a number, a string in quotes, True, False or None."""
    try:
        return _literal(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise LabError(f"{option}: {text!r} cannot be read ({reason})") from error


def _read(text: str) -> NamedCall:
    name, bracket, rest = text.partition("(")
    if not _NAME.fullmatch(name.strip()):
        raise ValueError("it is neither a name nor a name with arguments")
    if not bracket:
        return NamedCall(name.strip(), {})
    call = ast.parse(f"_({rest}", mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError("it is neither a name nor a name with arguments")
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise ValueError("every argument needs its name")
    arguments = {str(one.arg): _literal(one.value) for one in call.keywords}
    return NamedCall(name.strip(), arguments)


def _literal(value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{ast.unparse(value)} is not a number, a text, True, False, None or a "
            "collection of these"
        ) from error
