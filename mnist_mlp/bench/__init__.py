"""Benchmarks: what is timed (`cases`), how (`sitting`, `measure`), and the results (`results`).

One run of `bench` is called a sitting. It stores every raw value in one JSON file (`record`).
Tables, figures and comparisons are made from that file alone, so they can be made again later and
on another machine.
"""
