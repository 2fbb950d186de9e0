"""The annotations of the models of a file: what a location of pydantic's, with its tags, leads to."""

from __future__ import annotations

import types
from functools import cache
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

from typing_extensions import TypeAliasType

from orchestrator.spec.document import Document
from orchestrator.spec.fields import Model, key_of


def fields_of(model: type[Model]) -> list[str]:
    """The keys that a mapping takes."""
    return [key_of(name) for name in model.model_fields]


def members_of(alias: Any) -> list[type[Model]]:
    """The models of a named union."""
    return [get_args(member)[0] for member in get_args(bare(alias))]


def model_at(where: tuple[Any, ...]) -> type[Model]:
    """The model that a location of pydantic's, with its tags, leads to."""
    annotation: Any = Document
    for part in where:
        annotation = below(annotation, part)
    return cast("type[Model]", bare(annotation))


@cache
def _hints(model: type[Model]) -> dict[str, Any]:
    """The annotations of a model's fields, with forward references resolved."""
    return get_type_hints(model, include_extras=True)


def below(annotation: Any, part: Any) -> Any:
    """What an annotation has at a field, a key, an index or a tag."""
    annotation = bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return next(hint for name, hint in _hints(annotation).items() if key_of(name) == part)
    if get_origin(annotation) in (Union, types.UnionType):
        return next(one for one in get_args(annotation) if _tagged(one, part))
    return get_args(annotation)[-1]


def bare(annotation: Any) -> Any:
    """An annotation without its notes, and without the null of a field that may be left out."""
    while True:
        if isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
            continue
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
            continue
        if get_origin(annotation) in (Union, types.UnionType):
            members = [one for one in get_args(annotation) if one is not type(None)]
            if len(members) == 1:
                annotation = members[0]
                continue
        return annotation


def _tagged(annotation: Any, tag: Any) -> bool:
    return any(getattr(note, "tag", None) == tag for note in getattr(annotation, "__metadata__", ()))
