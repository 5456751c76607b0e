"""`python -m services.authentication`."""

from mesh.process import run
from services.authentication.assembly import assemble

if __name__ == "__main__":
    run("authentication", assemble)
