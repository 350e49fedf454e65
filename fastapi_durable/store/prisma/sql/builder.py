# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""Builds a statement: text with numbered parameters, and the fragments that differ between databases.

Values never become text. Parameters are only texts, numbers and None, with a cast where PostgreSQL must know the type,
so that every engine passes them in the same way. SQLite's parameters are positional, so fragments must be built in the
order of the statement.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar

from fastapi_durable.model.records import PAUSED_TAG, AttributeFilter, Json
from fastapi_durable.store.prisma.kinds import INTEGER, MILLIS, MOMENT, NUMBER, TEXT, Kind, to_json_text
from fastapi_durable.store.prisma.tables import Table

Parameter = str | int | float | None
Conditions = Callable[["Sql"], list[str]]
"""Further conditions on a run `r`, built at their place in the statement."""

OPERATORS = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Sql(ABC):
    """One statement of one database. Build it once, run it once."""

    once: ClassVar[str] = "MATERIALIZED"
    """Marks a common table as evaluated once."""

    def __init__(self) -> None:
        self.parameters: list[Parameter] = []

    # Parameters

    writes_in_tables: ClassVar[bool]
    """Whether a common table may write."""

    one_writer: ClassVar[bool]
    """Whether one transaction writes at a time."""

    @abstractmethod
    def bind(self, value: Parameter, kind: Kind) -> str:
        """A placeholder for the value."""

    @staticmethod
    @abstractmethod
    def stored_moment(moment: datetime) -> str | int:
        """A time exactly as the client writes it into a DateTime column, so that both compare as times do."""

    def value(self, value: Any, kind: Kind) -> str:
        """A placeholder for a value of the model."""
        return self.bind(self.stored(value, kind), kind)

    def stored(self, value: Any, kind: Kind) -> Parameter:
        """A value of the model as a parameter."""
        return None if value is None else self.storing(kind)(value)

    @classmethod
    def storing(cls, kind: Kind) -> Callable[[Any], Parameter]:
        """Return the function that converts a value of the model, other than None, to a parameter."""
        return cls.stored_moment if kind.is_moment else kind.to_column

    def text(self, value: str) -> str:
        return self.bind(value, TEXT)

    def integer(self, value: int) -> str:
        return self.bind(value, INTEGER)

    def millis(self, moment: datetime) -> str:
        return self.value(moment, MILLIS)

    def moment(self, moment: datetime) -> str:
        return self.value(moment, MOMENT)

    @staticmethod
    def foresees(value: Json) -> bool:  # noqa: ARG004 (for others)
        """Whether `kept` knows how a value of a JSON column will be read."""
        return True

    @staticmethod
    def kept(value: Json) -> Json:
        """A value of a JSON column, as it was written and read by Python, as the database keeps it."""
        return value

    def columns(self, table: Table[Any], values: Any, names: Sequence[str]) -> str:
        """Placeholders for these columns of a model's object, in order."""
        return ", ".join(self.value(getattr(values, name), table.column(name).kind) for name in names)

    # Fragments

    @abstractmethod
    def row(self, table: Table[Any], alias: str) -> str:
        """All columns of a row as the text of one JSON list, with JSON columns as texts."""

    @abstractmethod
    def gathered(self, table: Table[Any], alias: str) -> str:
        """Rows as the text of one JSON list of such lists."""

    def returned_row(self, table: Table[Any], alias: str) -> str:
        """A row in a RETURNING clause."""
        return self.row(table, alias)

    @abstractmethod
    def millis_of(self, column: str) -> str:
        """A DateTime column in milliseconds since 1970."""

    @abstractmethod
    def joined(self, column: str) -> str:
        """The numbers of a column, over all rows, as one text with commas between."""

    @abstractmethod
    def not_after(self, column: str, moment: datetime) -> str:
        """Whether a DateTime column holds the moment or an earlier one; NULL for NULL."""

    @abstractmethod
    def bytewise(self, column: str) -> str:
        """A text column, compared and ordered by its bytes."""

    @abstractmethod
    def starts_with(self, column: str, prefix: str) -> str:
        """Whether a text starts with a prefix; `%` and `_` in it mean themselves."""

    @abstractmethod
    def texts(self, values: Iterable[str]) -> str:
        """A subselect that yields the values."""

    @abstractmethod
    def integers(self, values: Iterable[int]) -> str:
        """The same for whole numbers."""

    @abstractmethod
    def pairs(self, values: Iterable[tuple[str, str]]) -> str:
        """A subselect that yields the pairs as the columns `id` and `token`."""

    @abstractmethod
    def has_tag(self, column: str, tag: str) -> str:
        """Whether the JSON list in a column contains the text."""

    @abstractmethod
    def is_boolean(self, column: str, key: str) -> str:
        """Whether the JSON object in a column holds a boolean under the key; never NULL."""

    def blank(self, column: str) -> str:
        """Whether a text consists of blanks only; NULL for NULL."""
        return f"trim({column}, {self.text(' ' + chr(9) + chr(13) + chr(10))}) = ''"

    @abstractmethod
    def lease_is_held(self, run_id: str, token: str) -> str:
        """Whether the run is leased under the token, until the end of the transaction."""

    def too_common(self, column: str) -> str:
        """A column with the same value in most rows, written so that a database without statistics does not use its
        index.
        """
        return column

    def planned_anew(self, text: str) -> str:
        """A statement that the database plans each time, instead of keeping a plan."""
        return text

    @abstractmethod
    def namespaces(self) -> str | None:
        """A subselect of every existing `namespace`, for a LATERAL join. None if the database cannot do that."""

    # A list of calls in one parameter; see `bulk`

    @abstractmethod
    def given(self, position: int, kind: Kind) -> str:
        """A column of a call `g`."""

    @abstractmethod
    def with_given(self) -> str:
        """The beginning of a statement that uses `given_rows`."""

    @abstractmethod
    def given_integers(self, position: int) -> str:
        """A subselect that yields the whole numbers in a column of a call `g`."""

    @abstractmethod
    def with_given_leases(self, run_id: str, token: str, *, waits: bool) -> str:
        """The same as `with_given`, for a statement that also asks whether leases are held.

        Args:
            waits: Whether it waits for locked runs. Otherwise it skips them.
        """

    @abstractmethod
    def given_rows(self) -> str:
        """The calls as a table `g`. Use it once in a statement."""

    @abstractmethod
    def given_lease_is_held(self, run_id: str, token: str) -> str:
        """Whether the run is leased under the token, until the end of the transaction."""

    @abstractmethod
    def unindexed(self, column: str) -> str:
        """A text column in a condition on a row that is found by its id, written so that the database does not use
        another index.
        """

    @abstractmethod
    def update_given(self, values: str, guards: Callable[[], list[str]]) -> str:
        """Set columns of the runs `r` that meet the guards with a call `g`, and return their `id`.

        It passes runs that others have locked.
        """

    def update_given_and_insert(
        self,
        values: str,
        guards: Callable[[], list[str]],
        insert: Callable[[str], str],
        waiter: Sequence[str],
        *,
        waits: bool,
    ) -> str:
        """The same, and also insert rows for the updated runs.

        Only with `writes_in_tables`. The rows are the second parameter.

        Args:
            waiter: Conditions on the waiter `w` of the run to remove. Empty: no waiter is removed.
            insert: Builds the insert from the rows as a table `g`. The table `changed` has the `id` of each updated
                run.
            waits: Whether it waits for locked runs. Otherwise it skips them.
        """
        raise NotImplementedError

    def updated_ids(self) -> str:
        """A subselect that yields the `id` of each row that `update_given` returned, from a JSON list of these rows.

        Only if a statement writes to one table: not `writes_in_tables`.
        """
        raise NotImplementedError

    @abstractmethod
    def first_of_each(
        self, groups: str, columns: str, conditions: Callable[[], list[str]], order: str, limit: int
    ) -> str:
        """The first runs `r` for each row of the table `groups`, which the conditions may use."""

    def unforeseen(self, word: str) -> str:
        """A constant text that the planner must not see as a constant.

        If the planner knows that a status was rare at its last count, it chooses plans for a few rows, and keeps them
        when there are many.
        """
        return f"'{word}'"

    @abstractmethod
    def passing_locked(self, alias: str) -> str:
        """Return the end of a SELECT that locks rows, and skips rows that others have locked."""

    # Statements that differ completely

    @abstractmethod
    def claim_picked(self, picked: str, values: str) -> str:
        """Set columns of the runs of the table `picked`, the last of the common tables that `picked` defines.

        Returns each run as `row`, its `id`, and `since` when it waited, if the database can return that.
        """

    @abstractmethod
    def renew_leases(self, leases: Sequence[tuple[str, str]], until: datetime, conditions: Conditions) -> str:
        """Prolong the leases (run id, token) that are held. Return the `id` of each run, and whether it `changed`."""

    @abstractmethod
    def take_waiter(self, token: str, conditions: Conditions) -> str:
        """Delete a waiter and return it as `row`."""

    @abstractmethod
    def take_signal(self, token: str) -> str:
        """Delete the oldest signal of a token and return it as `row`."""

    @abstractmethod
    def lock_run(self, run_id: str, conditions: Conditions) -> str:
        """Return a run as `row`, and keep others from changing it until the end of the transaction."""

    @abstractmethod
    def lock_name(self, name: str) -> str:
        """Wait for every other transaction that holds the name."""

    # Composed of the methods above

    def is_held_up(self, alias: str) -> str:
        """1 if the run is being cancelled or paused, else 0."""
        paused = self.has_tag(f"{alias}.tags", PAUSED_TAG)
        return f"CASE WHEN {alias}.status = 'cancelling' OR {paused} THEN 1 ELSE 0 END"

    def attribute(self, alias: str, condition: AttributeFilter) -> str:
        """Whether the run has an attribute that meets the condition."""
        operator = OPERATORS[condition.operator]
        start = f"EXISTS (SELECT 1 FROM durable_run_attributes AS a WHERE a.run_id = {alias}.id AND a.key = "
        key = self.text(condition.key)
        if isinstance(condition.value, bool):
            # Booleans are stored as texts in the side table. The run's JSON distinguishes them from equal texts.
            compared = f"{self.bytewise('a.str_value')} {operator} {self.text(str(condition.value).lower())}"
            return f"{start}{key} AND {compared}) AND {self.is_boolean(f'{alias}.search_attributes', condition.key)}"
        if isinstance(condition.value, str):
            compared = f"{self.bytewise('a.str_value')} {operator} {self.text(condition.value)}"
            return (
                f"{start}{key} AND {compared}) AND NOT {self.is_boolean(f'{alias}.search_attributes', condition.key)}"
            )
        number = self.bind(float(condition.value), NUMBER)
        return f"{start}{key} AND a.num_value {operator} {number})"


def values_parameter(values: Iterable[str | int]) -> str:
    return to_json_text(list(values))


def pairs_parameter(values: Iterable[tuple[str, str]]) -> str:
    return to_json_text([list(pair) for pair in values])
