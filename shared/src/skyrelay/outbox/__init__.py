"""The outbox's rules, the same for every destination: who may send now, and what follows from each answer.

The uploader works on it, the cloud agent puts measurements into it, and a `CloudCommunicator` that is used
by itself has one of its own; all of it works on any `skyrelay.store.engine.Store`.
"""
