"""Compare two finished runs. `runs` goes through the rungs and calls the other modules."""
