"""Keeps the home a well-behaved node of the observation network: registers once, beats while it lives."""
