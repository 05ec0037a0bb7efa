"""Look for what is broken here, and say how to repair it: see `diagnose`."""
