"""A PostgreSQL cluster that was made without a locale holds our text all the same."""

from __future__ import annotations

from sqlalchemy import text

from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated, migrate
from support.postgres_server import PostgresServer


def test_a_cluster_without_a_locale_gives_text_and_keeps_every_letter(postgres: PostgresServer) -> None:
    store = Store(postgres.create_database("SQL_ASCII"))
    migrate(store)
    check_migrated(store)
    with store.read() as session:
        assert session.scalar(text("SELECT 'Sternwarte Königstuhl'")) == "Sternwarte Königstuhl"
    store.close()
