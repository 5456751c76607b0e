"""`vivesphere demo`: against a mesh that runs, or against one of its own that lives as long as the demo."""

import asyncio
import logging

import httpx
from rich.console import Console

from cli.demo import DemoFailed, run_demo
from cli.demo_mesh import with_temporary_mesh
from cli.errors import CliError
from cli.rest import Api, ApiError
from cli.up import Running
from cli.view import View


class DemoError(CliError):
    """The demo could not be carried through, or saw what must not happen."""


def run_against(console: Console, url: str, sandbox_url: str, username: str, password: str) -> None:
    """The demo against a running mesh. Raises DemoError."""
    try:
        with Api(url) as api, Api(sandbox_url) as sandbox:
            run_demo(api, sandbox, console, username, password)
    except (DemoFailed, ApiError) as error:
        raise DemoError(str(error)) from None
    except httpx.HTTPError as error:
        raise DemoError(f"{url} or {sandbox_url} does not answer: {error}") from None


def run_alone(console: Console) -> None:
    """The demo against a temporary mesh. Raises DemoError, and what starting a mesh raises."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # nats-py closing a TLS connection makes it warn
    with View(console) as view:

        def work(running: Running, password: str) -> None:
            view.rest()
            console.print()
            run_against(console, running.console, running.sandbox or "", "admin", password)

        asyncio.run(with_temporary_mesh(view.show, work))
