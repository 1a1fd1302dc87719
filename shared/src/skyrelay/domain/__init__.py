"""The rules of frames, blocks, chunks and deliveries.

Pure: nothing here reads a clock, a socket, a file, a session or a setting; they
come in as arguments. Every date-time is aware UTC unless its name ends in
``_local``.
"""
