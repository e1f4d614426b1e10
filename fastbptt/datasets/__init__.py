"""Small real data that the package ships, samples-first, and tasks that are drawn afresh, time-major."""

from ._loaders import load_airline_passengers, load_japanese_vowels, load_sunspots
from ._tasks import adding_problem, copy_memory, fraction_wrong, parity, temporal_order

__all__ = ["load_airline_passengers", "load_japanese_vowels", "load_sunspots",
           "adding_problem", "copy_memory", "parity", "temporal_order", "fraction_wrong"]
