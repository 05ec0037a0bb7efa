"""Compare two training runs, and report where and why they differ first.

Where things are::

    findings        the values that are passed around: judged steps, findings, breaks, causes
    outcome         the result of a comparison, as a value, as JSON and as text
    not_exercised   what a comparison did not test
    cost            whole training runs of both sides, epoch by epoch

    steps/          one training step against exact arithmetic
                    sampling -> trajectory -> arbiter and recipe -> judge
    causes/         naming the cause: explain -> a module for each rung -> catalogue
    compare/        two finished runs: runs -> side (one at a time) -> verdict
    pair/           two models of two frameworks as each other's measure, in float64
                    feed -> run -> judge -> experiments -> breaks
    check/          a user's port: port -> side (original and port) -> verdict
                    supported says what can be judged, and refuses the rest in words

A rung is one of the twelve things that are compared, from the specification to the report. Their
order is that of the ladder (`findings.RUNGS`): a break on one rung makes later rungs differ too.

`compare` and `check` know nothing of each other. Both use `causes`, which uses `steps`. `pair` uses
the names of causes, and knows nothing of specifications.
"""
