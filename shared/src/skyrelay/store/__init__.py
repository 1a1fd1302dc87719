"""Where truth lives: tables, guarded transitions, the engine, migrations."""
