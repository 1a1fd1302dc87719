"""Tables as lines of JSON: the same from SQLite and from PostgreSQL, for either of them, at any schema.

The tables are read from the database itself and not from our models, so that a database of an earlier
release is copied before it is brought to this one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Date,
    DateTime,
    LargeBinary,
    MetaData,
    Table,
    insert,
    select,
    text,
)
from sqlalchemy.types import TypeEngine

_VERSION_TABLE = "alembic_version"
_ROWS_AT_A_TIME = 1000
MARK = "skyrelay_restored_"  # begins the name of the table by which a restore says that it is committed


def tables_of(connection: Connection) -> Sequence[Table]:
    """Give our tables, those that others refer to first."""
    metadata = MetaData()
    metadata.reflect(connection, resolve_fks=True)
    tables = [
        table
        for table in metadata.sorted_tables
        if table.name != _VERSION_TABLE and not table.name.startswith(MARK)
    ]
    for column in (column for table in tables for column in table.columns):
        if isinstance(column.type, JSON):  # nothing is to stay nothing, and not become JSON's null
            column.type = JSON(none_as_null=True)
    return tables


def read_rows(connection: Connection, table: Table) -> Iterator[bytes]:
    """Give each row of a table as a line: an array in the order of its columns."""
    ordered = select(table).order_by(*table.primary_key.columns)
    found = connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(ordered)
    for row in found:
        yield json.dumps([_plain(value) for value in row], separators=(",", ":")).encode() + b"\n"


def write_rows(connection: Connection, table: Table, names: Sequence[str], lines: Iterable[bytes]) -> int:
    """Put lines of `read_rows` into a table; give how many there were.

    Raises
    ------
    KeyError
        If a column is not in the table.
    ValueError
        If a line is none of ours.
    """
    columns = [table.columns[name] for name in names]
    readers = [_reader(column.type) for column in columns]
    count = 0
    for rows in _in_parts(_parsed(line, columns, readers) for line in lines):
        connection.execute(insert(table), rows)
        count += len(rows)
    return count


def delete_rows(connection: Connection, tables: Sequence[Table]) -> None:
    """Empty the tables, those first that refer to others."""
    for table in reversed(tables):
        connection.execute(table.delete())


def continue_numbering(connection: Connection, tables: Sequence[Table]) -> None:
    """Have PostgreSQL number new rows after those that were put in with their numbers; SQLite does."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables:
        if "id" in table.columns and isinstance(table.columns["id"].type.python_type(), int):
            connection.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) "  # noqa: S608 - our own name
                    f"FROM {table.name} HAVING max(id) IS NOT NULL"
                )
            )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(bytes(value)).decode()
    return value


def _reader(kind: TypeEngine[Any]) -> Callable[[Any], Any]:
    """Give what makes a column's value of JSON's."""
    if isinstance(kind, DateTime):
        return datetime.fromisoformat
    if isinstance(kind, Date):
        return date.fromisoformat
    if isinstance(kind, LargeBinary):
        return base64.b64decode
    return lambda value: value


def _parsed(
    line: bytes, columns: Sequence[Column[Any]], readers: Sequence[Callable[[Any], Any]]
) -> Mapping[str, Any]:
    values = json.loads(line)
    return {
        column.name: None if value is None else reader(value)
        for column, reader, value in zip(columns, readers, values, strict=True)
    }


def _in_parts(rows: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    part: list[Mapping[str, Any]] = []
    for row in rows:
        part.append(row)
        if len(part) == _ROWS_AT_A_TIME:
            yield part
            part = []
    if part:
        yield part
