"""The type of every expression, step by step as they can run: a result's type is known before its use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.compiler.bounds import bounded
from orchestrator.compiler.checks import order, switches
from orchestrator.compiler.checks.absence import leans, may_be_absent
from orchestrator.compiler.checks.fits import fit_constant, is_constant
from orchestrator.compiler.fields import Leaf
from orchestrator.compiler.scope import STATUS, STEP_ERROR
from orchestrator.expr.check import check as check_expression
from orchestrator.expr.check import known_when, shown
from orchestrator.expr.parse import unparse
from orchestrator.frozen import slotted
from orchestrator.spec import steps as written
from orchestrator.spec.types import (
    ANY,
    FILE,
    INTEGER,
    NEVER,
    NULL,
    STRING,
    ListType,
    NeverType,
    ObjectType,
    Type,
    assignable,
    bare,
    join,
    may_be_null,
    nullable,
    scalar_type,
    without_null,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.compiler.drafts import BlockDraft, Call, Draft
    from orchestrator.compiler.fields import Site, Tree
    from orchestrator.compiler.lower import Lowered
    from orchestrator.compiler.report import Path, Report
    from orchestrator.expr.check import Entry

_ERROR: Final = nullable(STEP_ERROR)


def check(lowered: Lowered) -> None:
    """Type the whole file: what stands in no step first, since it sees none."""
    typing = _Typing(lowered.resolved.report)
    for call in lowered.tools.calls:
        typing.call(call)
    typing.sites(lowered.sites)
    typing.block(lowered.root)
    typing.sites(lowered.outputs)
    if lowered.on_failure is not None:
        typing.step(lowered.on_failure)


@slotted
class _Typing:
    """``known`` are the paths that are not null here, since an ``if`` says so; ``noun`` is what keys are called."""

    report: Report
    known: frozenset[tuple[str, ...]] = frozenset()
    noun: str = "field"

    def block(self, block: BlockDraft, *, settled: bool = False) -> None:
        block.names.types.update(dict.fromkeys(block.names.at, ANY))
        for draft in order.in_order(self.report, block):
            self.step(draft)
            block.names.types[draft.node.name] = step_type(draft)
            if settled or may_be_absent(draft):
                block.names.absent.add(draft.node.name)

    def step(self, draft: Draft) -> None:
        """Every site of a step and what is inside of it; then the type of its result."""
        before = self.known
        for call in draft.calls:
            self.call(call)
        for site in draft.sites:
            self.site(site)
            if draft.node.condition is not None and site.at == (*draft.at, "if"):
                self.known |= _holding(site)
                if draft.node.condition == "false":
                    self.report.warn("W503", "this step never runs: its condition is false", site.at)
        found = self.result(draft)
        draft.type = draft.said if draft.said is not None else bounded(found)
        if draft.said is not None and not assignable(found, draft.said):
            message = f"the result is {shown(found)}, and `output` wants {shown(draft.said)}"
            self.report.error("E241", message, (*draft.at, "output"))
        if draft.fallback is not None:
            self.step(draft.fallback)
            draft.type = join(draft.type, draft.fallback.type)
        if draft.vague:
            draft.type = ANY
        self.known = before

    def result(self, draft: Draft) -> Type:
        """The type that the result has by itself."""
        match draft.step:
            case written.SetStep():
                assert draft.result is not None
                return ANY if draft.said is not None else draft.result.type
            case written.GroupStep():
                assert draft.block is not None
                self.block(draft.block, settled=_settled(draft))
                return _block_type(draft.block) if draft.result is None else self.group(draft)
            case written.MapStep():
                return self.map(draft)
            case written.SwitchStep():
                return self.switch(draft)
            case written.FailStep():
                return NEVER
            case _:
                return draft.known if draft.known is not None else ANY

    def group(self, draft: Draft) -> Type:
        """The ``outputs`` of a group, in which an absent entry is null."""
        assert draft.result is not None
        self.site(draft.result)
        if draft.said is not None:
            return ANY
        tree, scope = cast("dict[str, Any]", draft.result.tree), draft.result.scope
        fields = cast("ObjectType", draft.result.type).fields
        return ObjectType({name: nullable(fields[name]) if leans(tree[name], scope) else fields[name] for name in tree})

    def map(self, draft: Draft) -> Type:
        assert draft.over is not None
        assert draft.do is not None
        self.site(draft.over)
        if draft.key is not None:
            self.site(draft.key)
            if not any(assignable(draft.key.type, kind) for kind in (STRING, INTEGER)):
                message = f"a key is text or a whole number, not {shown(draft.key.type)}"
                self.report.error("E241", message, draft.key.at)
        self.step(draft.do)
        item = nullable(draft.do.type) if _settled(draft) or may_be_absent(draft.do) else draft.do.type
        return ListType(item)

    def switch(self, draft: Draft) -> Type:
        switches.check(self.report, draft)
        found: Type = NEVER
        for case in (*draft.cases.values(), *(() if draft.otherwise is None else (draft.otherwise,))):
            self.step(case)
            found = join(found, nullable(case.type) if may_be_absent(case) else case.type)
        return found

    def call(self, call: Call) -> None:
        """Arguments against what the tool takes."""
        if call.args is not None:
            call.args.want, call.args.noun = call.input, "argument"
            return
        for name in call.input.fields:
            if name not in call.input.optional:
                self.report.error(
                    "E242", f"`{call.tool}` needs `{name}`", call.at, hint=f"pass it: with: {{{name}: …}}"
                )

    def sites(self, sites: Iterable[Site]) -> None:
        for site in sites:
            self.site(site)

    def site(self, site: Site) -> None:
        """The type of a field, and what is wrong with it."""
        before = self.known
        if site.guard is not None:
            self.known |= _holding(site.guard)
        self.noun = site.noun
        site.type = self.tree(site.tree, site.at, site.scope.names, site.want)
        if site.attached and not any(assignable(site.type, nullable(kind)) for kind in (FILE, ListType(FILE))):
            message = f"this is {shown(site.type)}, and an attachment is a file, or a list of files"
            self.report.error("E241", message, site.at, hint="declare the input with `type: file`")
        self.known = before
        if site.binds is not None:
            scope, name = site.binds
            items = without_null(bare(site.type))
            scope.names[name] = items.item if isinstance(items, ListType) else ANY

    def tree(self, tree: Tree, at: Path, names: Mapping[str, Entry], want: Type | None) -> Type:
        if want is not None and is_constant(tree):
            fit_constant(self.report, tree, at, want, self.noun)
            return self.tree(tree, at, names, None)
        inner = None if want is None else without_null(bare(want))
        match tree:
            case Leaf():
                return self.leaf(tree, names, want)
            case dict():
                return self.mapping(tree, at, names, inner)
            case list():
                item = inner.item if isinstance(inner, ListType) else None
                found: Type = NEVER
                for index, part in enumerate(tree):
                    found = join(found, self.tree(part, (*at, index), names, item))
                return self.fits(ListType(found), at, inner, ListType)
            case _:
                return scalar_type(tree)

    def mapping(self, tree: dict[str, Any], at: Path, names: Mapping[str, Entry], want: Type | None) -> Type:
        noun, self.noun = self.noun, "field"
        fields = want.fields if isinstance(want, ObjectType) else {}
        found: dict[str, Type] = {}
        for name, part in tree.items():
            if isinstance(want, ObjectType) and want.closed and name not in fields:
                self.report.unknown("E243", noun, name, fields, (*at, name), key=True)
            found[name] = self.tree(part, (*at, name), names, fields.get(name))
        if isinstance(want, ObjectType):
            for name in fields:
                if name not in tree and name not in want.optional:
                    self.report.error("E242", f"the {noun} `{name}` is missing", at, key=True)
        return self.fits(ObjectType(found), at, want, ObjectType)

    def fits(self, found: Type, at: Path, want: Type | None, kind: type[Type]) -> Type:
        """A list or mapping as written, where another kind of value is wanted."""
        if want is not None and want != ANY and not isinstance(want, kind):
            self.report.error("E241", f"this is {shown(found)}, and {shown(want)} is wanted", at)
        return found

    def leaf(self, leaf: Leaf, names: Mapping[str, Entry], want: Type | None) -> Type:
        if leaf.broken:
            return ANY
        found: Type = STRING
        for part in leaf.parts:
            if isinstance(part, str):
                continue
            expected = None if leaf.text else want
            checked = check_expression(part, names, known=self.known, expected=expected, text=leaf.text)
            found = checked.type
            for problem in checked.problems:
                span = (problem.offset, problem.end)
                self.report.error(problem.code, problem.message, leaf.at, span=span, hint=problem.hint)
            if leaf.text and not checked.problems and (may_be_null(found) or found == NULL):
                message = f"`{unparse(part)}` may be null, and text takes none"
                hint = "default(x, …) gives a value for null"
                self.report.error("E206", message, leaf.at, span=(part.offset, part.end), hint=hint)
        if not leaf.text:
            return found
        if want is not None and not assignable(STRING, want):
            self.report.error("E241", f"this is text, and {shown(want)} is wanted", leaf.at)
        return STRING


def _holding(site: Site) -> frozenset[tuple[str, ...]]:
    """What is not null where a condition holds."""
    if isinstance(site.tree, Leaf) and site.tree.parts and not isinstance(site.tree.parts[0], str):
        return known_when(site.tree.parts[0], True)
    return frozenset()


def _settled(draft: Draft) -> bool:
    return draft.node.config.join.mode == "settled"  # pyright: ignore[reportAttributeAccessIssue]


def _block_type(block: BlockDraft) -> Type:
    """The output of a group without ``outputs``: an object of its steps' outputs, where an absent one is null."""
    return ObjectType(
        {
            name: nullable(draft.type) if name in block.names.absent else draft.type
            for name, draft in block.drafts.items()
            if name not in block.names.late
        }
    )


def step_type(draft: Draft) -> Type:
    """What ``steps.NAME`` has: output, status and error; counts and items of a map or a group; files of a script."""
    if draft.vague:
        return ANY
    fields: dict[str, Type] = {"output": draft.type, "status": STATUS, "error": _ERROR}
    if isinstance(draft.type, NeverType):
        del fields["output"]
    match draft.step:
        case written.MapStep() | written.GroupStep():
            keyed = isinstance(draft.step, written.GroupStep)
            key: Type = STRING if keyed else draft.key.type if draft.key is not None else INTEGER
            item = ANY if draft.do is None else nullable(draft.do.type)
            entry = ObjectType({"key": key, "status": STATUS, "output": item, "error": _ERROR})
            fields |= {"ok": INTEGER, "failed": INTEGER, "items": ListType(entry)}
        case written.RunStep() if draft.step.files is not None:
            fields["files"] = ObjectType(dict.fromkeys(draft.step.files, FILE))
        case _:
            pass
    return ObjectType(fields)
