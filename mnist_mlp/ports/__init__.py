"""Running a user's own model: what a host offers (`protocol`), and what every host needs."""
