"""Runs the service: `python -m services.secure_bot_data`."""

from mesh.process import run
from services.secure_bot_data.assembly import assemble

if __name__ == "__main__":
    run("secure_bot_data", assemble)
