"""Runs the logging service: `python -m services.logging`."""

from mesh.process import run
from services.logging.assembly import assemble

if __name__ == "__main__":
    run("logging", assemble)
