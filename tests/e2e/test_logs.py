"""Logs of the whole mesh, by the command line and the REST API: what went in is found, counted and exported."""

import csv
import io
import json
import os
import subprocess
import sysconfig
from pathlib import Path

from google.protobuf import json_format

from cli.rest import Api
from mesh.ids import new_id
from mesh.version import VERSION
from tests.e2e.conftest import PASSWORD, Running
from tests.e2e.test_main_job import eventually
from vivesphere.logging.v1 import log_record_pb2

VIVESPHERE = Path(sysconfig.get_path("scripts")) / "vivesphere"


def test_every_process_of_ours_is_heard(running: Running, api: Api) -> None:
    """Under its own name and version, the gateway too."""
    begins = {"categories": "LOG_CATEGORY_DEBUG", "text": "serving OR serves"}
    for service in ("gateway", *(service.name for service in running.mesh.registry)):
        found = eventually(
            lambda service=service: api.get("/api/v1/logs", service=service, **begins),
            lambda page: bool(page.get("records")),
        )
        assert found["records"], service
        assert {record["serviceVersion"] for record in found["records"]} == {VERSION}
        assert all(record["instance"].startswith(service) for record in found["records"])


def test_the_command_line_finds_and_exports_what_a_browser_reported(
    running: Running, api: Api, tmp_path: Path
) -> None:
    """Through gateway and service: filters, words, attributes with dots in their names, files in both forms."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)

    def run(*arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own command
            [str(VIVESPHERE), "logs", "--username", "admin", "--password-file", str(password), *arguments],
            env=os.environ | {"VIVESPHERE_URL": running.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    word = f"w{new_id().replace('-', '')}"
    reported = [
        {
            "category": "LOG_CATEGORY_CONSOLE",
            "severity": "SEVERITY_ERROR",
            "body": f"=boom {word}\nat line {n}",
            "attributes": {"exception.type": "TypeError", "n": n},
        }
        for n in range(3)
    ]
    assert api.post("/api/v1/logs:ingest", {"records": reported})["acceptedCount"] == 3

    def bodies(*arguments: str) -> list[str]:
        return [json.loads(line)["body"] for line in run("query", *arguments).splitlines()]

    wanted = ("-c", "console", "-s", "error", "--since", "1h", word)
    assert sorted(bodies(*wanted)) == [record["body"] for record in reported]
    assert bodies(*wanted, "-a", "exception.type=TypeError", "-a", "n=1") == [reported[1]["body"]]
    assert bodies(*wanted, "-a", "n=4") == []

    lines = run("export", *wanted).splitlines()
    assert {json_format.Parse(line, log_record_pb2.LogRecord()).attributes["n"] for line in lines} == {
        0,
        1,
        2,
    }
    file = tmp_path / "logs.csv"
    run("export", *wanted, "--format", "csv", "--output", str(file))
    rows = list(csv.DictReader(io.StringIO(file.read_text(), newline="")))
    assert {row["body"][:6] for row in rows} == {"'=boom"}
    assert len(rows) == 3

    found = api.get("/api/v1/logs:histogram", text=word, groupBy="LOG_GROUPING_SEVERITY")
    assert found["totalCount"] == 3
    assert next(bucket["groups"] for bucket in found["buckets"] if "groups" in bucket).keys() == {
        "SEVERITY_ERROR"
    }
