"""What carries out many tasks at any scale: processes on this machine, or jobs of a cluster.

It knows nothing of what the tasks are. A task is a function, named by its import path, with
arguments and a result that JSON can hold.
"""
