"""What tools give where neither the file nor a function says: by kind, and by operation of a ``files`` tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.spec.types import ANY, INTEGER, OPEN_OBJECT, STRING, ListType, ObjectType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.spec.types import Type

SHELL_OUTPUT: Final = ObjectType({"exit": INTEGER, "stdout": STRING, "stderr": STRING})
HTTP_OUTPUT: Final = ObjectType({"status": INTEGER, "headers": OPEN_OBJECT, "body": ANY})
OPERATION_OUTPUTS: Final[Mapping[str, Type]] = {
    "read": STRING,
    "list": ListType(ObjectType({"name": STRING, "type": STRING, "size": INTEGER})),
    "glob": ListType(STRING),
    "grep": ListType(ObjectType({"path": STRING, "line": INTEGER, "text": STRING})),
    "write": ObjectType({"path": STRING, "bytes": INTEGER}),
    "edit": ObjectType({"path": STRING, "line": INTEGER}),
}
