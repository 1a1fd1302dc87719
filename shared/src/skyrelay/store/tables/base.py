"""What all tables have in common."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Connection, Index, MetaData, event, text
from sqlalchemy.orm import DeclarativeBase

from skyrelay.store.columns import UtcDateTime

_ON_POSTGRESQL = "on_postgresql"


class Base(DeclarativeBase):
    """The declarative base; constraints have names, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
    }


def partial_index(
    name: str, *columns: str, where: str, on_postgresql: str = "", unique: bool = False
) -> Index:
    """Give an index of some rows only; a query that says so in the same words can use it.

    Parameters
    ----------
    where
        Which rows, in SQL.
    on_postgresql
        The same in PostgreSQL's words, where they differ. They are put in place when tables are made there:
        an index that is given them at once loads PostgreSQL's part of SQLAlchemy into every process (2 MB).
    """
    info = {_ON_POSTGRESQL: on_postgresql or where}
    return Index(name, *columns, unique=unique, sqlite_where=text(where), info=info)


@event.listens_for(Base.metadata, "before_create")
def _say_it_in_words_of_postgresql(metadata: MetaData, connection: Connection, **_: object) -> None:
    if connection.dialect.name != "postgresql":
        return
    for index in (index for table in metadata.tables.values() for index in table.indexes):
        if _ON_POSTGRESQL in index.info:
            index.dialect_kwargs["postgresql_where"] = text(index.info[_ON_POSTGRESQL])
