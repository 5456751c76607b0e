"""Runs the service: `python -m services.configuration`."""

from mesh.process import run
from services.configuration.assembly import assemble

if __name__ == "__main__":
    run("configuration", assemble)
