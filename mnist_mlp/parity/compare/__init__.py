"""Comparing two finished runs: `runs` climbs the ladder, with the help of the other modules."""
