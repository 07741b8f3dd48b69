"""How the documentation reads this package: a griffe extension, used by `mkdocs.yml`.

Four customs of the house are told to the reader of docstrings:

* an `__init__`, and a module that defines nothing, holds out what it imports under its
  own name (`from ._trace import trace as trace`);
* a docstring's `Example:` is code, as the plural `Examples:` is elsewhere;
* a class under `@rule` is a dataclass, and `static(default=x)` is a field;
* the methods of a rule are those of `Rule`, which has their documentation.
"""

import re
from typing import Any

from griffe import (
    Attribute,
    Class,
    Decorator,
    ExprCall,
    ExprName,
    Extension,
    Module,
    Object,
)

_EXAMPLE = re.compile(r"^(\s*)Example:[ ]*$", re.MULTILINE)


class HouseStyle(Extension):
    """Tells griffe what is public here, what is an example and what is a rule."""

    def on_module(self, *, mod: Module, **kwargs: Any) -> None:
        """Hold out what is imported under its own name where nothing is defined."""
        del kwargs
        aliases = [m for m in mod.members.values() if m.is_alias]
        only_imports = len(aliases) == len(mod.members)
        if mod.exports is None and (mod.is_init_module or only_imports):
            held_out = [a.name for a in aliases if a.target_path.endswith(f".{a.name}")]
            mod.exports = [name for name in held_out if not name.startswith("_")]

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Read `Example:` as a section of code."""
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(r"\1Examples:", obj.docstring.value)

    def on_class_members(self, *, cls: Class, **kwargs: Any) -> None:
        """Read a rule as a dataclass, whose methods need no words of their own."""
        del kwargs
        if any(str(decorator.value) == "rule" for decorator in cls.decorators):
            cls.decorators.append(
                Decorator(
                    ExprName("dataclasses.dataclass"), lineno=None, endlineno=None
                )
            )
            for name in [n for n, m in cls.members.items() if m.is_function]:
                cls.del_member(name)

    def on_attribute_instance(self, *, attr: Attribute, **kwargs: Any) -> None:
        """Read the default of a static field."""
        del kwargs
        value = attr.value
        if isinstance(value, ExprCall) and str(value.function) == "static":
            attr.value = next(iter(value.arguments)).value
