"""`python -m services.bot_manager`"""

from mesh.process import run
from services.bot_manager.assembly import assemble

if __name__ == "__main__":
    run("bot_manager", assemble)
