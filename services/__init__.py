"""The services of the mesh. This folder itself must never be on `sys.path`: `services/logging` would hide the standard library's."""
