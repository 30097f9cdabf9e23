"""
What an outbox asks of a database server, and what differs from one kind of server to another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final, Literal, TypeAlias

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Delete,
    Double,
    FromClause,
    Insert,
    Integer,
    Select,
    Update,
    bindparam,
    case,
    delete,
    func,
    select,
    update,
)

from ._tables import PENDING, POINTS
from .contract import MAX_DELAY, State
from .rows import POINT, PROGRESS

#: Seconds that a server may be silent; a frozen one would be for ever.
MAX_SILENCE: Final = 10

_PRUNE_STEP: Final = 1_000  # rows; bounds how long one step keeps them locked
_STUCK: Final = (State.REJECTED.value, State.HELD.value)

_ADDED: Final = tuple(POINTS.c[name] for name in (*POINT, "state"))
#: What `Dialect.write` takes of each change.
_CHANGED: Final = (
    *(POINTS.c[name] for name in ("id", "token", "state", "last_error", "billable", "classification")),
    *(Column("delay", Double), Column("handed_back", Integer), Column("unanswered", Boolean)),
)
#: A token is left of a claim that was never written back: its point may have been sent.
UNANSWERED: Final = func.coalesce(POINTS.c.unanswered_since, case((POINTS.c.token.is_not(None), POINTS.c.due)))


# As text: before SQLAlchemy 2.1 it was written another way.
Rows: TypeAlias = "Select[*tuple[Any, ...]]"


class Dialect(ABC):
    """
    The statements of an outbox, ready to run.

    Attributes:
        driver: SQLAlchemy's name of the database and its driver.
        isolation: Of its connections; with `"AUTOCOMMIT"` each statement is a transaction of its own.
        options: How to connect, unless the URL says otherwise.
        passing: Codes of errors that one transaction gets because of another, so that it may be repeated.
        now: Epoch seconds by the server's clock; the parameter `now` when *clocked*.
    """

    driver: ClassVar[str]
    isolation: ClassVar[Literal["AUTOCOMMIT", "READ COMMITTED"]]
    options: ClassVar[Mapping[str, object]]
    passing: ClassVar[frozenset[object]]

    def __init__(self, *, clocked: bool) -> None:
        self.now: ColumnElement[Any] = bindparam("now", type_=Double) if clocked else self._server_clock()
        self.add = self._add(self._table("points", _ADDED))
        self.write = self._write(self._table("changes", _CHANGED))
        self.next_due = select(func.min(POINTS.c.due), func.max(POINTS.c.due), self.now).where(PENDING)
        self.counts = self._counts()
        self.rows: Rows = select(self.now, *(POINTS.c[name] for name in POINT + PROGRESS))
        self.reject = self._reject()
        self.retry = (
            update(POINTS)
            .where(POINTS.c.state.in_(_STUCK))
            .values(state=State.PENDING.value, due=self.now, attempts=0, unanswered_since=None)
        )
        self.discard = delete(POINTS)
        self.prune = self._prune()

    @abstractmethod
    def connect(self, driver: Any, options: Mapping[str, Any]) -> Any:
        """
        Return a new connection of the *driver* module.
        """

    @abstractmethod
    def code(self, error: BaseException) -> object:
        """
        Return what the server calls an *error* of the driver's.
        """

    @abstractmethod
    def check(self, connection: Connection) -> None:
        """
        Raise an `OutboxError` when the server is too old.
        """

    @abstractmethod
    def alone(self, connection: Connection) -> AbstractContextManager[None]:
        """
        Keep other processes that ask for the same waiting while the context lasts.
        """

    @abstractmethod
    def claim(self, connection: Connection, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """
        Claim `size` points for `lease` seconds with `claim_token`.

        Returns a row for each: when it was due, number, attempts, unanswered since, and the columns `POINT`.
        """

    @abstractmethod
    def _server_clock(self) -> ColumnElement[Any]:
        """
        Return the expression for the present moment.
        """

    @abstractmethod
    def _table(self, name: str, columns: Sequence[Column[Any]]) -> FromClause:
        """
        Return the table `new` of *columns* that the parameter *name* holds as a JSON array of objects.
        """

    @abstractmethod
    def _add(self, new: FromClause) -> Insert:
        """
        Return the statement that stores the points of *new*, in which each key is once.
        """

    def _fresh(self, new: FromClause) -> Rows:
        return select(*new.c, self.now.label("due"))

    def _claimable(self, *columns: ColumnElement[Any]) -> tuple[Rows, Rows]:
        # Nothing is put off so far as the second: the clock has gone back.
        due, far = POINTS.c.due <= self.now, POINTS.c.due > self.now + MAX_DELAY
        rows = select(*columns).where(PENDING).order_by(POINTS.c.due, POINTS.c.id).with_for_update(skip_locked=True)
        return rows.where(due), rows.where(far)

    def _write(self, new: FromClause) -> Update:
        return (
            update(POINTS)
            # Only pending points have a token; to say so would lead PostgreSQL through the index of all of them.
            .where(POINTS.c.id == new.c.id, POINTS.c.token == new.c.token)
            .values(
                state=new.c.state,
                due=self.now + new.c.delay,
                token=None,
                attempts=POINTS.c.attempts - new.c.handed_back,
                unanswered_since=func.coalesce(POINTS.c.unanswered_since, case((new.c.unanswered, self.now))),
                last_error=new.c.last_error,
                billable=new.c.billable,
                classification=new.c.classification,
            )
        )

    def _reject(self) -> Update:
        return (
            update(POINTS)
            .where(POINTS.c.id == bindparam("row"), POINTS.c.token == bindparam("claim_token"))
            .values(state=State.REJECTED.value, due=self.now, token=None, last_error=bindparam("reason"))
        )

    def _counts(self) -> Rows:
        claimed = func.count(case((POINTS.c.due > self.now, POINTS.c.token)))
        return select(POINTS.c.state, func.count(), claimed, func.min(POINTS.c.occurred_at)).group_by(POINTS.c.state)

    def _prune(self) -> Delete:
        old = select(POINTS.c.id).where(
            POINTS.c.state == State.REGISTERED.value, POINTS.c.due < self.now - bindparam("older_than", type_=Double)
        )
        # A table within, because MySQL takes no limit of what stands in the condition itself.
        step = old.limit(_PRUNE_STEP).subquery("old")
        return delete(POINTS).where(POINTS.c.id.in_(select(step.c.id)))
