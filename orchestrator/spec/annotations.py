"""The annotations of the models of a file: what a location, with its tags, leads to.

They are texts, as all annotations of this code, and evaluated one by one when something asks.
"""

from __future__ import annotations

import sys
import types
from functools import cache
from typing import Annotated, Any, Union, cast, get_args, get_origin

from orchestrator.spec.model import Model, Tag, key_of


def fields_of(model: type[Model]) -> list[str]:
    """The keys that a mapping takes."""
    return [key_of(name) for name in model.known]


def members_of(alias: Any) -> list[type[Model]]:
    """The models of a named union."""
    return [get_args(member)[0] for member in get_args(bare(alias))]


def model_at(where: tuple[Any, ...]) -> type[Model]:
    """The model that a location, with its tags, leads to."""
    from orchestrator.spec.document import Document

    annotation: Any = Document
    for part in where:
        annotation = below(annotation, part)
    return cast("type[Model]", bare(annotation))


@cache
def annotation_of(model: type[Model], name: str) -> Any:
    """The annotation of a field."""
    owner = model.known[name]
    return eval(owner.__annotations__[name], vars(sys.modules[owner.__module__]))  # noqa: S307  the text is our own


def below(annotation: Any, part: Any) -> Any:
    """What an annotation has at a field, a key, an index or a tag."""
    annotation = bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation_of(annotation, next(name for name in annotation.known if key_of(name) == part))
    if get_origin(annotation) in (Union, types.UnionType):
        return next(one for one in get_args(annotation) if tag_of(one) == part)
    return get_args(annotation)[-1]


def bare(annotation: Any, *, notes: bool = False) -> Any:
    """An annotation without the null of a field that may be left out, and without its notes, if not with ``notes``."""
    while True:
        if get_origin(annotation) is Annotated and not notes:
            annotation = get_args(annotation)[0]
            continue
        if get_origin(annotation) in (Union, types.UnionType):
            members = [one for one in get_args(annotation) if one is not type(None)]
            if len(members) == 1:
                annotation = members[0]
                continue
        return annotation


def tag_of(member: Any) -> str | None:
    """The tag of a union's member."""
    return next((note.tag for note in getattr(member, "__metadata__", ()) if isinstance(note, Tag)), None)
