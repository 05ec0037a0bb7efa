"""Timing: what is measured (`case`), measured how (`sitting`, `measure`), and what it shows.

A sitting keeps every raw value in one JSON file (`record`); tables, figures and comparisons are
made from that file alone, so that they can be made again, elsewhere and later.
"""
