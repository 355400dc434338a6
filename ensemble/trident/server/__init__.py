"""Finds, assembles, starts, watches and stops tritonserver; the only user of processes but `wheels`.

`lifecycle.Server` is what others use, and `stopping` is for another process's server. `host` checks the
machine, `embedded` finds the parts of tritonserver, and `state` says what runs. `supervisor` is the process
that keeps tritonserver, and outlives us by just enough to leave nothing behind; in it `healing` sees which
processes of models die or hang (`stubs`, `hangs`), `revivals` brings the models back (`pauses`), and `health`
tells. Nothing is imported here: the supervisor stays small.
"""
