"""Finds, assembles, starts, watches and stops tritonserver; few others start processes (ARCHITECTURE.md, rule 4).

`lifecycle.Server` is what others use, and `stopping` is for another process's server. `host` checks the machine,
`embedded` finds the parts of tritonserver, `limits` says what it may take, and `state` what runs. `supervisor` is the
process that keeps tritonserver, `tied` to its own life, and outlives us by just enough to leave nothing behind. In it
`healing` sees which processes of models die, hang or never end their load (`stubs`, `hangs`, `waits`) and what the dead
leave behind (`uncollected`), `revivals` brings the models back (`pauses`), and `health` tells. Nothing is imported
here: the supervisor stays small.
"""
