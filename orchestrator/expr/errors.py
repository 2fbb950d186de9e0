"""What can go wrong while an expression is evaluated."""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

from orchestrator.errors import Exit, OrchError


class Place(Protocol):
    """A part of a source, in code points."""

    @property
    def offset(self) -> int: ...
    @property
    def end(self) -> int: ...


class EvalError(OrchError):
    """An expression has no value: a bad index, a division by zero, a text that is no number.

    ``offset`` and ``end`` bound the part of the expression that failed, in code points of its source.
    """

    code: ClassVar[str] = "E261"
    exit: ClassVar[Exit] = Exit.FAILED

    def __init__(
        self, message: str, *, offset: int | None = None, end: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.offset = offset
        self.end = end

    def at(self, place: Place) -> Self:
        """The same error, with its place, unless something further inside has said where it happened."""
        if self.offset is None:
            self.offset, self.end = place.offset, place.end
        return self


class WrongType(EvalError):
    """An operator or a function met a value of a type that it does not take. What the checker lets pass has none."""

    code: ClassVar[str] = "E260"


class NullValue(WrongType):
    """A value is needed, and there is null."""

    code: ClassVar[str] = "E263"

    def __init__(self, message: str, *, hint: str | None = "give a value for null: default(x, ...)") -> None:
        super().__init__(message, hint=hint)


class LimitReached(EvalError):
    """The expression takes more steps, nests deeper or makes more than its limits allow."""

    code: ClassVar[str] = "E262"
