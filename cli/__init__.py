"""The `vivesphere` command: embedded engines, set-up steps, the process supervisor and the demo.

Owns everything that happens outside the services: making certificates, creating databases, streams and policies, starting
and stopping processes. Imports `mesh` and `generated`, never a service, the gateway or the sandbox: those are started as
processes of their own.
"""
