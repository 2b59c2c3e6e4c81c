"""The lock-down: what a worker takes from itself before foreign code runs in it.

`confinement` puts the layers together; `namespaces`, `landlock`, `seccomp` (with `policy` and
`syscalls`) are a layer each; `probe` says what this machine offers.
"""
