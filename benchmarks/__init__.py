"""What is measured, against what. `python -m benchmarks [name …]` runs all or the named ones and prints figures, never a verdict.

Each benchmark measures the thing and its comparison in the same run, alternating, and reports medians with their spread. CPU is what
the kernel counted for the measured process, so it holds on a machine that does other things too; times do not.
"""
