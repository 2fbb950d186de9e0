"""Classes of values beside those that ``dataclasses`` makes of the same source."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import pytest

from orchestrator.frozen import field, frozen, slotted


def plain(*, change: bool) -> tuple[type[Any], type[Any]]:
    """The same class by both: a base whose fields are named, and one on top with two more."""

    def both(decorate: Any, named: Any) -> type[Any]:
        @named
        class Base:
            """What all have."""

            known: ClassVar[int] = 7
            at: int = field(default=0, compare=False, repr=False)
            seen: list[int] = field(default_factory=list, init=False, compare=False)

        @decorate
        class Point(Base):
            """A point."""

            x: int
            y: int = 2
            tags: list[str] = field(default_factory=list, hash=False)
            fixed: int = field(default=4, init=False)
            sum: int = field(init=False, repr=False)

            def __post_init__(self) -> None:
                object.__setattr__(self, "sum", self.x + self.y)
                self.seen.append(self.x)

            @property
            def total(self) -> int:
                return self.x + self.y

        return Point

    if change:
        return both(slotted, slotted(kw_only=True)), both(
            dataclass(slots=True), dataclass(slots=True, kw_only=True)
        )  # fmt: skip
    return both(frozen, frozen(kw_only=True)), both(
        dataclass(frozen=True, slots=True), dataclass(frozen=True, slots=True, kw_only=True)
    )  # fmt: skip


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}), ((1, 3), {}), ((1, 3, ["a"]), {}), ((), {"x": 1, "at": 5}), ((1,), {"tags": []}),
    ((), {}), ((1, 2, [], 4), {}), ((1,), {"x": 2}), ((1,), {"seen": []}), ((1,), {"other": 2}),
]  # fmt: skip


def made(cls: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return cls(*args, **kwargs)
    except TypeError as error:
        return str(error).rpartition(".")[2]


@pytest.mark.parametrize("change", [False, True])
@pytest.mark.parametrize(("args", "kwargs"), CALLS)
def test_an_instance_is_what_a_dataclass_makes(change: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    ours, theirs = plain(change=change)
    one, other = made(ours, args, kwargs), made(theirs, args, kwargs)
    if isinstance(other, str):
        assert one == other
        return
    assert repr(one) == repr(other)
    assert asdict(one) == asdict(other)
    assert (one.total, one.known, one.seen, one.at) == (other.total, 7, other.seen, other.at)
    assert not hasattr(one, "__dict__")


@pytest.mark.parametrize("change", [False, True])
def test_a_class_is_what_a_dataclass_is(change: bool) -> None:
    ours, theirs = plain(change=change)
    for cls in (ours, theirs):
        assert is_dataclass(cls)
        assert (cls.__name__, cls.__doc__, cls.__module__) == ("Point", "A point.", __name__)
        assert cls.__match_args__ == ("x", "y", "tags")
        assert cls.__slots__ == ("x", "y", "tags", "fixed", "sum")
    told = [
        [(f.name, f.type, f.kw_only, f.init, f.repr, f.compare, f.hash) for f in fields(cls)] for cls in (ours, theirs)
    ]
    assert told[0] == told[1]
    ours(1)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


@pytest.mark.parametrize("change", [False, True])
def test_they_compare_by_what_they_hold(change: bool) -> None:
    ours, theirs = plain(change=change)
    for cls in (ours, theirs):
        one = cls(1)
        assert one == cls(1, at=9)
        assert one != cls(2)
        assert one != cls(1, 2, ["a"])
        assert one != (0, 1)
        assert replace(one, y=5) == cls(1, 5)
        with pytest.raises((ValueError, TypeError)):
            replace(one, seen=[])
        if change:
            with pytest.raises(TypeError, match="unhashable"):
                hash(one)
        else:
            assert hash(one) == hash(cls(1, tags=["other"])) != hash(cls(2))
        assert copy.copy(one) == copy.deepcopy(one) == one
        assert copy.deepcopy(cls(1, 2, ["a"])).tags == ["a"]
        match one:
            case cls(x, y):
                assert (x, y) == (1, 2)


def test_what_is_frozen_never_changes() -> None:
    one = plain(change=False)[0](1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        one.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del one.x
    two = plain(change=True)[0](1)
    two.x = 2
    assert two.x == 2


@frozen(kw_only=True, slots=False)
class Whole:
    """Remembers what it worked out."""

    parts: tuple[int, ...] = ()
    name: str

    @cached_property
    def total(self) -> int:
        return sum(self.parts)


@frozen
class Nothing:
    """Holds nothing."""


@frozen
class Own:
    """Compares as it likes."""

    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and other.text.lower() == self.text.lower()

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return f"<{self.text}>"


@frozen
class Equal:
    """Compares as it likes, and is hashed as ever."""

    text: str

    def __eq__(self, other: object) -> bool:
        return True


@slotted(eq=False)
class Thing:
    """Is itself alone."""

    size: int = 1


def test_without_slots_there_is_room_to_remember() -> None:
    one = Whole(parts=(1, 2), name="a")
    assert (one.total, vars(one)["total"], Whole.parts) == (3, 3, ())
    assert one == Whole(parts=(1, 2), name="a")
    assert replace(one, parts=(5,)).total == 5
    assert Whole(name="b").parts == ()
    with pytest.raises(FrozenInstanceError):
        one.name = "b"


def test_what_a_class_defines_stays() -> None:
    assert Own("a") == Own("A")
    assert (hash(Own("a")), repr(Own("a"))) == (7, "<a>")
    assert Equal("a") == 3
    assert hash(Equal("a")) == hash(Equal("a")) != hash(Equal("b"))


def test_what_holds_nothing_and_what_is_itself_alone() -> None:
    assert Nothing() == Nothing()
    assert (hash(Nothing()), repr(Nothing())) == (hash(()), "Nothing()")
    one = Thing()
    assert one == one != Thing()
    assert {one: 1}[one] == 1


@pytest.mark.parametrize("one", [Whole(name="a"), Own("a"), Nothing(), Thing(3)], ids=repr)
def test_they_can_be_sent(one: Any) -> None:
    again = pickle.loads(pickle.dumps(one))
    assert repr(again)[:15] == repr(one)[:15]
    assert isinstance(one, Thing) or again == one


@pytest.mark.parametrize("decorate", [dataclass(frozen=True, slots=True, order=True), frozen(order=True)])
def test_those_with_an_order_compare_by_what_they_hold(decorate: Any) -> None:
    class Version:
        major: int
        minor: int
        note: str = field(default="", compare=False)

    kind = decorate(Version)
    first, second = kind(1, 2, "b"), kind(1, 3, "a")
    assert first < second
    assert second > first
    assert first <= kind(1, 2, "c")
    assert first >= kind(1, 2, "c")
    assert sorted([second, first]) == [first, second]
    with pytest.raises(TypeError):
        assert first < (1, 2)


def test_values_without_an_order_have_none() -> None:
    kind = frozen(type("Point", (), {"__annotations__": {"x": "int"}}))
    with pytest.raises(TypeError):
        assert kind(1) < kind(2)
