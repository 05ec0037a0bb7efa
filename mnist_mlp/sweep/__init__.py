"""Many runs of one specification: over seeds, settings and backends, here or on a cluster.

`cases` lists the runs, `one` makes one of them in whatever process it is called, `many` hands them
to joblib, `table` holds what came of them, and `equivalence` judges whether two backends reach the
same accuracy.
"""
