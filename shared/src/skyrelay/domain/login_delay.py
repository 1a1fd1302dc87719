"""How long a login has to wait after wrong passwords.

The first few cost nothing: everybody mistypes. Then each wrong one doubles the wait of its source. All
sources together wait too, for much less: that slows an attack from many addresses down to a few thousand
guesses a day, and still leaves the owner, who may come from a new address meanwhile, a turn in half a
minute.
"""

from __future__ import annotations

from datetime import timedelta

FREE_TRIES = 5
LONGEST_OF_ONE = timedelta(minutes=15)
FREE_TRIES_OF_ALL = 30
LONGEST_OF_ALL = timedelta(seconds=30)
FORGOTTEN_AFTER = timedelta(hours=24)  # without another one, a source begins anew

_FIRST = timedelta(seconds=1)
_MOST_DOUBLINGS = 20  # far beyond the longest wait; no number grows without end


def delay_of_one(failures: int) -> timedelta:
    """Give the wait of one source after so many wrong passwords in a row."""
    return _doubled(failures - FREE_TRIES, LONGEST_OF_ONE)


def delay_of_all(failures: int) -> timedelta:
    """Give the wait of all unknown sources after so many wrong passwords from any of them."""
    return _doubled(failures - FREE_TRIES_OF_ALL, LONGEST_OF_ALL)


def _doubled(beyond: int, longest: timedelta) -> timedelta:
    if beyond < 0:
        return timedelta(0)
    return min(_FIRST * (1 << min(beyond, _MOST_DOUBLINGS)), longest)
