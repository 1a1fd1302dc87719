"""What the services say to each other: task names, message models, the frame stream, heartbeats.

Messages only say "look": Redis can be wiped at any moment and nothing is lost.
"""
