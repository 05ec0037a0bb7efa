"""Run a backend in its own process: `parent` starts it and calls it, `child` runs in it."""
