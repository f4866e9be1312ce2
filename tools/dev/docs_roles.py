"""Griffe extension of the site: Sphinx roles in docstrings, such as :class:`CvT`, become links or plain code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r':(?:class|func|meth|mod|data|attr):`~?([\w.]+)`')


class Roles(Extension):
    """Rewrites each docstring when its object has been read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Replace the roles of one docstring."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(lambda match: link(obj, match[1]), obj.docstring.value)


def link(obj: Object, name: str) -> str:
    """A reference that stays plain code if the site has no page for it."""
    path = name
    if name.startswith('.'):  # from the package of the object's module
        path = f'{obj.module.path.rpartition(".")[0]}{name}'
    elif '.' not in name:
        owner = obj if name in obj.members else obj.parent if obj.parent and name in obj.parent.members else obj.module
        path = f'{owner.path}.{name}'
    return f'<autoref identifier="{path}" optional>`{name.lstrip(".").rpartition(".")[2]}`</autoref>'
