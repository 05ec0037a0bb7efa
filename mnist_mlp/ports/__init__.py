"""Run a user's own model: the interface of a host (`protocol`), and helpers for all hosts."""
