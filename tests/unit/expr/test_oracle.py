from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from orchestrator.expr.check import Checker, check
from orchestrator.expr.evaluate import EvalError, WrongType, evaluate
from orchestrator.expr.narrow import NOTHING
from orchestrator.expr.nodes import MACROS, Binary, Call, Conditional, Expr, Macro, Unary, walk
from orchestrator.expr.parse import parse
from orchestrator.expr.signatures import FUNCTIONS
from orchestrator.spec.types import (
    AnyType,
    BooleanType,
    DurationType,
    IntegerType,
    ListType,
    NeverType,
    Nullable,
    NumberType,
    ObjectType,
    StringType,
    TimestampType,
    Type,
    bare,
)
from tests.unit.expr.generate import SCOPE, Generator, environment
from tests.unit.expr.oracle import NOW, ask, context, translate

FULL = 20_000
COUNT = FULL if os.environ.get("ORCH_PROVE") else 1_500
SEED = 20260131
TYPES = {
    StringType: "string", IntegerType: "integer", NumberType: "number", BooleanType: "boolean", ListType: "list",
    ObjectType: "object", TimestampType: "timestamp", DurationType: "duration", Nullable: "nullable", AnyType: "any",
}  # fmt: skip
OPERATORS = ("+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in", "!", "unary -", "?:")


def ours(expr: Expr, env: dict[str, object]) -> tuple[bool, object]:
    try:
        return True, evaluate(expr, env, now=NOW, seed="seed")
    except EvalError as error:
        return False, error


def same(a: object, b: object) -> bool:
    """Equality that tells 1 from 1.0 and from true."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    return type(a) is type(b) and a == b


def features(expr: Expr, types: dict[int, Type]) -> set[str]:
    found: set[str] = set()
    for node in walk(expr):
        match node:
            case Binary():
                found.add(node.operator)
            case Unary():
                found.add("!" if node.operator == "!" else "unary -")
            case Conditional():
                found.add("?:")
            case Call() | Macro():
                found.add(node.name)
            case _:
                pass
        kind = types.get(id(node))
        if kind is not None:
            found.add(TYPES.get(type(bare(kind)), "other"))
    return found


@pytest.mark.timeout(300)
def test_agrees_with_cel() -> None:
    rng = random.Random(SEED)
    generator = Generator(rng)
    environments = [(env, context(env)) for env in (environment(rng) for _ in range(40))]
    counts: Counter[str] = Counter()
    errors = fallen_back = 0
    for index in range(COUNT):
        source = generator.expression(index)
        env, where = environments[index % len(environments)]
        expr = parse(source)
        checker = Checker(SCOPE, NOTHING)
        checker.type(expr)
        counts.update(features(expr, checker.types))
        good, value = ours(expr, env)
        errors += not good
        told, wanted = ask(translate(expr, differences=False), where)
        if good == told and (not good or same(value, wanted)):
            continue
        fallen_back += 1
        strict = translate(expr, differences=True)
        told, wanted = ask(strict, where)
        assert good == told, (source, env, value, strict, wanted)
        assert not good or same(value, wanted), (source, env, value, strict, wanted)
    assert errors <= 0.30 * COUNT
    assert fallen_back <= 0.25 * COUNT
    # A sample scatters; the full count holds the bound itself.
    least = 300 if COUNT == FULL else 150 * COUNT // FULL
    wanted_features = [*OPERATORS, *FUNCTIONS, *MACROS, *TYPES.values()]
    rare = {name: counts[name] for name in wanted_features if counts[name] < least}
    assert not rare, rare


@pytest.mark.timeout(300)
def test_what_passes_the_checker_never_fails_on_types() -> None:
    rng = random.Random(SEED + 1)
    generator = Generator(rng, wrong=0.1)
    passed = typed = refused = 0
    for index in range(COUNT):
        source = generator.expression(index)
        expr = parse(source)
        checked = check(expr, SCOPE)
        if checked.problems:
            refused += 1
            continue
        passed += 1
        unchecked = _unchecked(expr)
        typed += not unchecked
        for _ in range(3):
            env = environment(rng)
            good, value = ours(expr, env)
            assert good or not isinstance(value, WrongType) or unchecked, (source, env, value)
    assert typed > 0.8 * passed > 0.4 * COUNT
    assert refused > 0.05 * COUNT


def _unchecked(expr: Expr) -> bool:
    """Whether any takes part."""
    checker = Checker(SCOPE, NOTHING)
    checker.type(expr)
    return any(_has_any(kind) for kind in checker.types.values())


def _has_any(type_: Type) -> bool:
    match bare(type_):
        case AnyType() as kind:
            return not isinstance(kind, NeverType)
        case Nullable(inner):
            return _has_any(inner)
        case ListType(item):
            return _has_any(item)
        case ObjectType() as kind:
            return not kind.closed or any(_has_any(item) for item in kind.fields.values())
        case _:
            return False


def test_what_is_well_typed_passes_the_checker() -> None:
    generator = Generator(random.Random(SEED + 2), wrong=0)
    # What a constant shows to be wrong is a problem too, though its types are right.
    constants = {"E207", "E208"}
    for index in range(COUNT):
        source = generator.expression(index)
        codes = {problem.code for problem in check(parse(source), SCOPE).problems} - constants
        assert not codes, (source, codes)


def test_operators_bind_as_in_cel() -> None:
    rng = random.Random(SEED + 3)
    where = context({})
    for _ in range(COUNT // 5):
        source = str(rng.randint(1, 9))
        for _ in range(rng.randint(1, 5)):
            source += f" {rng.choice('+-*/%')} {rng.choice(['', '-'])}{rng.randint(1, 9)}"
        source += f" {rng.choice(['<', '==', '>=', '!='])} 1 {rng.choice(['&&', '||'])} {rng.choice(['true', '!true'])}"
        source += rng.choice(["", " ? 1 : 2 == 2 ? 3 : 4", " || false && true"])
        assert ours(parse(source), {}) == ask(source, where), source
