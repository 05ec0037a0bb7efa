"""A backend in a process of its own: `parent` is our side of the pipe, `child` is the other."""
