"""The griffe extension with which `mkdocs.yml` reads the docstrings of this package.

It handles four conventions:

* an `__init__`, and a module that defines nothing, exports what it imports under the
  same name (`from ._trace import trace as trace`);
* the section `Example:` of a docstring is code, as `Examples:` is elsewhere;
* a class under `@rule` or `@layer` is a dataclass, and `static(default=x)` is a field;
* the methods of a rule are documented in `Rule`, those of a layer in `Layer`.
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


class Conventions(Extension):
    """The exports, examples, rules and fields of this package."""

    def on_module(self, *, mod: Module, **kwargs: Any) -> None:
        """Export what is imported under the same name where nothing is defined."""
        del kwargs
        aliases = [m for m in mod.members.values() if m.is_alias]
        only_imports = len(aliases) == len(mod.members)
        if mod.exports is None and (mod.is_init_module or only_imports):
            exported = [a.name for a in aliases if a.target_path.endswith(f".{a.name}")]
            mod.exports = [name for name in exported if not name.startswith("_")]

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Read the section `Example:` as code."""
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(r"\1Examples:", obj.docstring.value)

    def on_class_members(self, *, cls: Class, **kwargs: Any) -> None:
        """Read a rule or a layer as a dataclass without documented methods."""
        del kwargs
        if {str(each.value) for each in cls.decorators} & {"rule", "layer"}:
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
