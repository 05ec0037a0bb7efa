"""Comparing two training runs, and saying where and why they part.

Where things are::

    findings        what is found: judged steps, findings, breaks, causes
    outcome         the verdict and all it says, as a value, as JSON and as text
    not_exercised   what a comparison did not put to the test

    steps/          one training step against exact arithmetic
                    sampling -> trajectory -> arbiter and recipe -> judge
    causes/         naming what broke: explain -> a module for each rung -> catalogue
    compare/        two finished runs: runs -> side (one at a time) -> verdict
    check/          a user's port: port -> side (original and port) -> verdict
                    supported says what can be judged, and refuses the rest in words

`compare` and `check` know nothing of each other. Both use `causes`, which uses `steps`.
"""
