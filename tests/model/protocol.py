"""A model of the claim, append, settle and park protocol, small enough to try every interleaving of it.

Two drivers, ``A`` and ``B``, share a database. Every transaction travels: it may land at once, late or never; its answer may
be lost, or the connection while it travels; a driver may crash at any instant and start again; a claim may happen at any
instant (a lease that is over, ``--force``, a driver that stood still). There is no clock: all schedules are covered.

A run has steps that start together, each a ``S``tarted and a ``D``one record, may ask a person (``M``essage), and ends
(``F``inished). ``Rules`` names each rule of the protocol, so that a wrong one can be tried.

A state is ``(db, net, drivers, left)``:

- ``db``: per run ``(epoch, owner, rows, message, wake, parked)``; a row is ``(record, epoch, nonce)``; ``message`` is none,
  pending, consumed;
- ``net``: the transactions that travel, sorted: ``(what, driver, incarnation, payload, copy)``;
- ``drivers``: ``(incarnation, runs, connection)``, incarnation 0 while it is down; a run in its hands is ``(mode, epoch, view,
  queue, slice)``;
- ``left``: how many claims, crashes, losses and messages may still happen, and the last incarnation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

State = tuple[Any, Any, Any, Any]
NAMES = "AB"
IDLE = ("idle",)
NEW = ("new", 0, (), (), ())
NONE, PENDING, CONSUMED = 0, 1, 2
PARK = ("park",)
BEGUN = ("run", 0, "r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of the protocol, and the bounds within which they are tried. Every default is the right rule."""

    steps: tuple[tuple[str, ...], ...] = (("p", "q"),)
    asks: bool = False
    held: bool = True
    """Driver A holds every run to begin with."""
    claims: int = 1
    crashes: int = 1
    losses: int = 1
    messages: int = 0
    eager: bool = True
    """A driver sends as soon as it can, as the writer does; else at any later time."""

    resend: Literal["frozen", "grows"] = "frozen"
    nonce: Literal["slice", "send"] = "slice"
    conflict: Literal["each", "all stop", "rebase"] = "each"
    verdict: Literal["each", "first"] = "each"
    taken: Literal["refuse", "ignore"] = "refuse"
    fence: Literal["head and epoch", "key"] = "head and epoch"
    flight: Literal["one slice", "pipelined"] = "one slice"
    parking: Literal["locks first", "reads first"] = "locks first"


def initial(rules: Rules) -> State:
    """The state before anything happened."""
    drivers = [(1, (NEW,) * len(rules.steps), IDLE), (2, (NEW,) * len(rules.steps), IDLE)]
    rows: tuple[Any, ...] = (BEGUN,)
    if rules.held:
        rows = (*rows, (("C", 1), 1, (1, "c")))
        view = tuple(row[0] for row in rows)
        runs = tuple(("drives", 1, view, first_work(rules, run, view), ()) for run in range(len(rules.steps)))
        drivers[0] = (1, runs, IDLE)
    db = tuple((int(rules.held), int(rules.held), rows, NONE, 0, 0) for _ in rules.steps)
    state = (db, (), tuple(drivers), (rules.claims, rules.crashes, rules.losses, rules.messages, 2))
    return _send(rules, state, 0) if rules.eager else state


def finished(rows: Any) -> bool:
    """True where the run has ended."""
    return any(row is not None and row[0] == ("F",) for row in rows)


def first_work(rules: Rules, run: int, view: Any) -> Any:
    """What a driver appends to a run that it has just claimed: a new attempt of every step without an end."""
    done = {record[1] for record in view if record[0] == "D"}
    queue = tuple(
        ("S", step, 1 + sum(1 for record in view if record[:2] == ("S", step)))
        for step in rules.steps[run]
        if step not in done
    )
    return queue + _ending(rules, run, view + queue)


def _ending(rules: Rules, run: int, tentative: Any) -> Any:
    """``F`` where all the rest of a run is there."""
    done = {record[1] for record in tentative if record[0] == "D"}
    whole = done == set(rules.steps[run]) and (not rules.asks or ("M",) in tentative) and ("F",) not in tentative
    return (("F",),) if whole else ()


# --- the database -----------------------------------------------------------------------------------------------------


def _land(rules: Rules, db: Any, tx: Any, bad: set[str]) -> tuple[Any, Any]:
    """The database after a transaction landed, and its answer."""
    what, _, inc, payload, _ = tx
    match what:
        case "claim":
            return _land_claim(db, inc, *payload)
        case "park":
            return _land_park(rules, db, *payload)
        case _:
            return _land_append(rules, db, inc, payload, bad)


def _put(items: Any, at: int, item: Any) -> Any:
    return (*items[:at], item, *items[at + 1 :])


def _land_claim(db: Any, inc: int, run: int, nonce: Any) -> tuple[Any, Any]:
    epoch, owner, rows, message, _, _ = db[run]
    if owner == inc:
        for seq, row in enumerate(rows, 1):
            if row is not None and row[2] == nonce:
                return db, ("taken", row[1], seq)
    if finished(rows):
        return db, ("ended",)
    rows = (*rows, (("C", epoch + 1), epoch + 1, nonce))
    return _put(db, run, (epoch + 1, inc, rows, message, 0, 0)), ("taken", epoch + 1, len(rows))


def _land_park(rules: Rules, db: Any, run: int, epoch: int, head: int, saw: int) -> tuple[Any, Any]:
    now, owner, rows, message, _, _ = db[run]
    if now != epoch or len(rows) != head:
        return db, "conflict"
    if owner == 0:
        return db, "parked"
    if (saw if rules.parking == "reads first" else message) == PENDING:
        return db, "awake"
    return _put(db, run, (now, 0, rows, message, 0, 1)), "parked"


def _land_append(rules: Rules, db: Any, inc: int, payload: Any, bad: set[str]) -> tuple[Any, Any]:
    out = db
    for run, epoch, first, records, nonce in payload:
        now, owner, rows, message, wake, parked = out[run]
        seqs = range(first, first + len(records))
        occupied = {seq for seq in seqs if seq <= len(rows) and rows[seq - 1] is not None}
        moved = rules.fence == "head and epoch" and (now != epoch or len(rows) != first - 1)
        if moved or (occupied and rules.taken == "refuse"):
            return db, "conflict"
        for seq, record in zip(seqs, records, strict=True):
            if seq in occupied:
                continue
            rows += (None,) * (seq - 1 - len(rows))
            if record[0] in "DMF" and any(row is not None and row[0][:2] == record[:2] for row in rows):
                bad.add("two ends of one step")
            if epoch < now:
                bad.add("a commit under an old epoch")
            if record == ("M",):
                message = CONSUMED
            rows = _put(rows, seq - 1, (record, epoch, nonce)) if seq <= len(rows) else (*rows, (record, epoch, nonce))
        if None in rows:
            bad.add("a gap")
        out = _put(out, run, (now, owner, rows, message, wake, parked))
    return out, "kept"


# --- a driver ---------------------------------------------------------------------------------------------------------


def _send(rules: Rules, state: State, which: int) -> State:
    """The driver sends what it has: the same slices again, or new ones of all that gathered."""
    db, net, drivers, left = state
    inc, runs, connection = drivers[which]
    if connection[0] not in ("idle", "again"):
        return state
    again = connection[0] == "again"
    alone = again and connection[1]
    copy = connection[2] + 1 if again else 0
    payload: list[Any] = []
    for run, (mode, epoch, view, queue, piece) in enumerate(runs):
        if mode != "drives" or (alone and payload):
            continue
        if again:
            if not piece:
                continue
            if rules.resend == "grows" and piece != PARK:
                piece, queue = piece + queue, ()
        elif queue:
            piece, queue = queue, ()
        else:
            continue
        runs = _put(runs, run, (mode, epoch, view, queue, piece))
        first = len(view) + 1
        if piece == PARK:
            tx = ("park", which, inc, (run, epoch, len(view), db[run][3]), copy)
            return _travels(state, which, runs, tx, alone)
        nonce = (inc, epoch, first) if rules.nonce == "slice" else (inc, epoch, first, copy)
        payload.append((run, epoch, first, piece, nonce))
    if not payload:
        return state
    return _travels(state, which, runs, ("append", which, inc, tuple(payload), copy), alone)


def _travels(state: State, which: int, runs: Any, tx: Any, alone: bool) -> State:
    db, net, drivers, left = state
    driver = (drivers[which][0], runs, ("waits", tx, alone))
    return (db, tuple(sorted((*net, tx), key=repr)), _put(drivers, which, driver), left)


def _kept(db: Any, run: int, held: Any, bad: set[str]) -> Any:
    """The driver learns that its slice is committed."""
    mode, epoch, view, queue, piece = held
    rows = db[run][2]
    for seq, record in enumerate(piece, len(view) + 1):
        if seq > len(rows) or rows[seq - 1] is None or rows[seq - 1][:2] != (record, epoch):
            bad.add("an acknowledged record is not there")
    return (mode, epoch, view + piece, queue, ())


def _fenced(db: Any, run: int, held: Any, bad: set[str]) -> Any:
    """The driver learns that another one has the run."""
    if db[run][0] == held[1]:
        bad.add("fenced by nobody")
    return ("fenced", held[1], (), (), ())


def _answered(rules: Rules, db: Any, driver: Any, tx: Any, answer: Any, bad: set[str]) -> Any:
    """A driver that gets the answer to what it sent."""
    inc, runs, connection = driver
    alone = connection[2]
    if tx[0] == "park" and answer != "conflict":
        run = tx[3][0]
        mode, epoch, view, queue, _ = runs[run]
        left = ("parked", 0, (), (), ()) if answer == "parked" else (mode, epoch, view, queue, ())
        return (inc, _put(runs, run, left), IDLE)
    group = [run for run, *_ in tx[3]] if tx[0] == "append" else [tx[3][0]]
    if answer == "conflict":
        if rules.conflict == "all stop":
            for run in group:
                runs = _put(runs, run, _fenced(db, run, runs[run], bad))
            return (inc, runs, IDLE)
        if rules.conflict == "rebase":
            for run in group:
                mode, epoch, view, queue, piece = runs[run]
                view += tuple(row[0] for row in db[run][2][len(view) :])
                runs = _put(runs, run, (mode, epoch, view, queue, piece))
            return (inc, runs, ("again", alone, tx[4]))
        return (inc, runs, ("doubts", tx, alone))
    for run in group:
        runs = _put(runs, run, _kept(db, run, runs[run], bad))
    return (inc, runs, _next(runs, alone, tx))


def _next(runs: Any, alone: bool, tx: Any) -> Any:
    """What the connection does after an end: the rest of its batch, or whatever gathered."""
    return ("again", alone, tx[4]) if any(held[4] for held in runs) else IDLE


def _settle(rules: Rules, db: Any, driver: Any, bad: set[str]) -> Any:
    """A driver reads the first row of each slice that it doubts, and settles each run by itself."""
    inc, runs, (_, tx, alone) = driver
    group = list(tx[3]) if tx[0] == "append" else [(tx[3][0], tx[3][1], tx[3][2] + 1, (), None)]
    found: dict[int, str] = {}
    for run, _, first, _, nonce in group:
        rows = db[run][2]
        row = rows[first - 1] if first <= len(rows) else None
        found[run] = "none" if row is None else "ours" if row[2] == nonce else "theirs"
    if rules.verdict == "first":
        found = dict.fromkeys(found, found[group[0][0]])
    for run, verdict in found.items():
        if verdict == "ours":
            runs = _put(runs, run, _kept(db, run, runs[run], bad))
        elif verdict == "theirs":
            runs = _put(runs, run, _fenced(db, run, runs[run], bad))
    alone = alone or all(verdict == "none" for verdict in found.values())
    return (inc, runs, _next(runs, alone, tx))


def _pipelined(driver: Any) -> Iterator[tuple[int, Any, Any]]:
    """Later slices that a driver sends while the end of the one before is not known (a wrong rule)."""
    inc, runs, connection = driver
    for run, (mode, epoch, view, queue, piece) in enumerate(runs):
        if mode == "drives" and piece and piece != PARK and queue and queue != PARK:
            first = len(view) + len(piece) + 1
            payload = ((run, epoch, first, queue, (inc, epoch, first)),)
            yield run, (inc, _put(runs, run, (mode, epoch, view, (), piece + queue)), connection), payload


# --- every next state -------------------------------------------------------------------------------------------------


def following(rules: Rules, state: State) -> Iterator[tuple[tuple[Any, ...], State, set[str]]]:
    """Every action that may come next: its name and arguments, the state after it, and what it broke."""
    for action, after, bad in _following(rules, state):
        if rules.eager:
            for which in (0, 1):
                after = _send(rules, after, which)
        for _, _, _, message, wake, parked in after[0]:
            if parked and message == PENDING and not wake:
                bad.add("asleep with a message waiting")
        yield action, after, bad


def _following(rules: Rules, state: State) -> Iterator[tuple[tuple[Any, ...], State, set[str]]]:
    db, net, drivers, left = state
    claims, crashes, losses, messages, last = left
    yield from _landings(rules, state)
    if messages and not finished(db[0][2]) and db[0][3] == NONE:
        epoch, owner, rows, _, _, parked = db[0]
        after = (_put(db, 0, (epoch, owner, rows, PENDING, 1, parked)), net, drivers, _put(left, 3, messages - 1))
        yield ("message", 0), after, set()
    for which, driver in enumerate(drivers):
        inc, runs, connection = driver
        put = lambda new, which=which, **kept: (  # noqa: E731 - one line, used on every line below
            db,
            kept.get("net", net),
            _put(drivers, which, new),
            kept.get("left", left),
        )
        if inc == 0:
            yield ("restarts", which), put((last + 1, (NEW,) * len(runs), IDLE), left=_put(left, 4, last + 1)), set()
            continue
        if crashes and (connection != IDLE or any(held != NEW for held in runs)):
            down = (0, (NEW,) * len(runs), IDLE)
            yield ("crashes", which), put(down, left=_put(left, 1, crashes - 1)), set()
        if connection[0] == "waits" and losses:
            doubts = (inc, runs, ("doubts", *connection[1:]))
            yield ("connection lost", which), put(doubts, left=_put(left, 2, losses - 1)), set()
        if connection[0] == "doubts":
            bad: set[str] = set()
            yield ("settles", which), put(_settle(rules, db, driver, bad)), bad
        if not rules.eager and connection[0] in ("idle", "again") and (after := _send(rules, state, which)) != state:
            yield ("sends", which), after, set()
        if rules.flight == "pipelined" and connection[0] == "doubts":
            for _, new, payload in _pipelined(driver):
                more = tuple(sorted((*net, ("append", which, inc, payload, 9)), key=repr))
                yield ("pipelines", which), put(new, net=more), set()
        yield from _run_actions(rules, state, which, put)


def _landings(rules: Rules, state: State) -> Iterator[tuple[tuple[Any, ...], State, set[str]]]:
    """Each transaction that travels may land, and its answer be lost. One that never lands needs no action."""
    db, net, drivers, left = state
    losses = left[2]
    for at, tx in enumerate(net):
        if tx in net[:at]:
            continue
        bad: set[str] = set()
        after, answer = _land(rules, db, tx, bad)
        rest = net[:at] + net[at + 1 :]
        _, which, inc, _, _ = tx
        driver = drivers[which]
        action = ("lands", tx, answer)
        lost = _put(left, 2, losses - 1)
        if tx[0] == "claim":
            run = tx[3][0]
            if driver[0] != inc or driver[1][run][0] != "claims" or driver[1][run][1] != tx[4]:
                yield (*action, "nobody waits"), (after, rest, drivers, left), bad
                continue
            claimed = NEW
            if answer[0] == "taken":
                view = tuple(row[0] for row in after[run][2][: answer[2]])
                claimed = ("drives", answer[1], view, first_work(rules, run, view), ())
            learnt = (inc, _put(driver[1], run, claimed), driver[2])
            yield (*action, "answered"), (after, rest, _put(drivers, which, learnt), left), bad
            unsure = (inc, _put(driver[1], run, ("unsure", tx[4], (), (), ())), driver[2])
        elif driver[0] == inc and driver[2][:2] == ("waits", tx):
            heard = set(bad)
            learnt = _answered(rules, after, driver, tx, answer, heard)
            yield (*action, "answered"), (after, rest, _put(drivers, which, learnt), left), heard
            unsure = (inc, driver[1], ("doubts", *driver[2][1:]))
        else:
            yield (*action, "nobody waits"), (after, rest, drivers, left), bad
            continue
        if losses:
            yield (*action, "answer lost"), (after, rest, _put(drivers, which, unsure), lost), set(bad)


def _run_actions(rules: Rules, state: State, which: int, put: Any) -> Iterator[tuple[tuple[Any, ...], State, set[str]]]:
    """What a driver may do with each run."""
    db, net, drivers, left = state
    inc, runs, connection = drivers[which]
    for run, (mode, epoch, view, queue, piece) in enumerate(runs):
        held = lambda new, run=run: (inc, _put(runs, run, new), connection)  # noqa: E731
        claim = ("claim", which, inc, (run, (inc, "c")), epoch + 1 if mode == "unsure" else 0)
        travels = tuple(sorted((*net, claim), key=repr))
        if mode == "new" and left[0] and not finished(db[run][2]) and db[run][1] != inc:
            asked = held(("claims", 0, (), (), ()))
            yield ("claims", which, run), put(asked, net=travels, left=_put(left, 0, left[0] - 1)), set()
        if mode == "claims" and left[2]:
            unsure = held(("unsure", epoch, (), (), ()))
            yield ("claim connection lost", which, run), put(unsure, left=_put(left, 2, left[2] - 1)), set()
        if mode == "unsure":
            yield ("claims again", which, run), put(held(("claims", epoch + 1, (), (), ())), net=travels), set()
        if mode != "drives" or PARK in (queue, piece):
            continue
        for what, more in _work(rules, state, which, run):
            yield what, put(held((mode, epoch, view, queue + more, piece))), set()


def _work(rules: Rules, state: State, which: int, run: int) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Effects that end, messages that are taken up, and going to sleep: each action, and what it appends."""
    db, _, drivers, _ = state
    _, _, view, queue, piece = drivers[which][1][run]
    tentative = view + piece + queue
    ended = {record[1:] for record in tentative if record[0] == "D"}
    claimed = max(seq for seq, record in enumerate(view) if record[0] == "C")
    for record in view[claimed + 1 :]:
        if record[0] == "S" and record[1:] not in ended:
            more = (("D", *record[1:]),)
            more += _ending(rules, run, tentative + more)
            yield ("performs", which, run, more), more
    if not rules.asks or ("M",) in tentative:
        return
    if db[run][3] == PENDING:
        more = (("M",),)
        more += _ending(rules, run, tentative + more)
        yield ("takes up", which, run, more), more
    if not queue and not piece and {record[1] for record in view if record[0] == "D"} == set(rules.steps[run]):
        yield ("parks", which, run), PARK
