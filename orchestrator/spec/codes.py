"""Every code of a diagnostic, with a title of one line. ``docs/errors.md`` has an entry for each.

E1xx the file: YAML and shape · E2xx references, types and expressions · E4xx topology, budgets and policy ·
W5xx warnings · E9xx reserved. A code, once published, keeps its meaning.
"""

from __future__ import annotations

from typing import Final

SHAPE: Final = {
    "E101": "the file is not UTF-8 text",
    "E102": "this is not YAML",
    "E103": "YAML reads this otherwise: quote it",
    "E104": "unknown field",
    "E105": "a field is missing",
    "E106": "a value of another kind",
    "E107": "a value that is not allowed here",
    "E108": "this is not a name",
    "E109": "exactly one kind is needed",
    "E110": "a key stands twice",
    "E111": "tags are not allowed",
    "E112": "directives are not allowed",
    "E113": "more than one document",
    "E114": "a key is not text",
    "E115": "merge keys are not allowed",
    "E116": "the file is over a limit",
    "E117": "an alias without its anchor, or inside of it",
    "E118": "a character that no text may hold",
    "E119": "the file is empty",
    "E120": "this is not a duration",
    "E121": "a number that JSON does not have",
    "E122": "a file cannot be read",
    "E123": "an import clashes",
    "E124": "an imported file holds more than it may",
    "E126": "no expression may stand here",
    "E127": "fields that do not go together",
    "E190": "not available yet",
}

REFERENCES: Final = {
    "E200": "this is not an expression",
    "E201": "unknown name",
    "E202": "unknown field",
    "E203": "unknown function",
    "E204": "other arguments are wanted",
    "E205": "a value of another type is wanted",
    "E206": "a value that may be null",
    "E207": "a comparison that never holds",
    "E208": "an expression that always fails",
    "E209": "a step or a field is named by a constant",
    "E210": "a name that is taken",
    "E211": "a secret is only joined to text",
    "E220": "this is not a type",
    "E230": "unknown step",
    "E231": "unknown input",
    "E232": "unknown agent",
    "E233": "unknown tool",
    "E234": "unknown model",
    "E235": "a name that is not in scope",
    "E236": "a step that cannot be seen from here",
    "E237": "a name that hides another one",
    "E238": "unknown secret",
    "E239": "a secret where it could leak",
    "E240": "one expression is wanted, not text",
    "E241": "a value that does not fit its type",
    "E242": "an argument is missing",
    "E243": "unknown argument",
    "E244": "a switch without a case for every value",
    "E245": "a case that never matches",
    "E246": "a python function that is not there, or takes other arguments",
}

TOPOLOGY: Final = {
    "E401": "steps that wait for each other",
    "E402": "types in a cycle",
    "E403": "a `write` that would be tried again",
    "E404": "the same thing twice",
    "E405": "a model swap without its model",
    "E406": "models that fall back on each other",
    "E407": "agents that come back to themselves without a bound",
    "E408": "what a plan may not have",
    "E460": "unknown provider",
    "E470": "a budget over the one around it",
    "E471": "a model without a price under a budget in dollars",
    "E472": "a budget that nothing can finish under",
    "E473": "a budget that lets nothing run",
    "E480": "this is no rule",
}

WARNINGS: Final[dict[str, str]] = {
    "W501": "a comment cuts this text",
    "W502": "defined and never used",
    "W503": "this never runs",
}

CODES: Final[dict[str, str]] = {**SHAPE, **REFERENCES, **TOPOLOGY, **WARNINGS}
