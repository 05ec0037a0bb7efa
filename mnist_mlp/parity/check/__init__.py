"""Checking a user's port: `port` climbs the ladder, with the help of the other modules."""
