"""Finds, assembles, starts, watches and stops tritonserver; the only user of processes but `wheels`.

`lifecycle.Server` is what others use, and `stopping` is for another process's server. `host` checks the
machine, `embedded` finds the parts of tritonserver, `state` says what runs, and `supervisor` is the process
that outlives us by just enough to leave nothing behind. Nothing is imported here: the supervisor stays small.
"""
