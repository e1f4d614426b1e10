"""Small packaged data sets, samples-first, and tasks that draw new sequences, time-major.

Loaders are in _loaders, tasks of long memory in _tasks, tasks of neuroscience in _trials.
"""

from ._loaders import load_airline_passengers, load_japanese_vowels, load_sunspots
from ._tasks import adding_problem, copy_memory, fraction_wrong, parity, temporal_order
from ._trials import delayed_match_to_sample, flip_flop, perceptual_decision, sine_generation

__all__ = ["load_airline_passengers", "load_japanese_vowels", "load_sunspots",
           "adding_problem", "copy_memory", "parity", "temporal_order", "perceptual_decision",
           "delayed_match_to_sample", "flip_flop", "sine_generation", "fraction_wrong"]
