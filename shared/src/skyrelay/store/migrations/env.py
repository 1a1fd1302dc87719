"""How Alembic runs our migrations: on the connection that it is given, in one transaction."""

from __future__ import annotations

from alembic import context

from skyrelay.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter a constraint in place
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
