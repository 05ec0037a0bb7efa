"""Naming what broke a rung."""
