"""Driving one's own telescopes from a script or a command, without any service running.

It takes the same lease as the services, through the configured database, and keeps a small book there
of what it had stacked, so that both know of each other's work.
"""
