"""The client of a Seestar telescope; `skyrelay.seestar.telescope` is what a caller wants.

`codec` (bytes) / `connection` (sockets) / `files` (SMB, HTTP) / `telescope`. Importing it does nothing.
"""
