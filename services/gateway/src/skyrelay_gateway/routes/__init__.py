"""The routes: each reads a request, calls one use case and answers."""
