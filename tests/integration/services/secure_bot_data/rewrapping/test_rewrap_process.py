"""The service as a process that dies in the middle of a job."""

from pathlib import Path

from cli.child import Child
from cli.embedded import EmbeddedMesh
from cli.processlog import ProcessLog
from services.secure_bot_data.domain.model import JobState
from tests.integration.services.secure_bot_data.conftest import oauth1
from tests.integration.services.secure_bot_data.rewrapping.conftest import Replica

NAME = "secure_bot_data"
COUNT = 120


async def test_another_replica_goes_on_where_a_killed_one_stopped(
    engines: EmbeddedMesh, replica: Replica, tmp_path: Path
) -> None:
    """Nothing is lost, nothing is rewrapped twice, and the counts are those of one run."""
    refs = await replica.write(COUNT)
    output = ProcessLog(tmp_path / "output.log")
    child = Child(engines.service_spec(NAME), output)
    await child.spawn()
    try:
        await child.wait_ready()
        job = await replica.start()
        await replica.becomes(job, lambda found: found.rewrapped_count > 0)
    finally:
        child.kill()
        await child.wait()
        output.close()
    left = await replica.jobs.get(job.id)
    assert (left.state, left.failed_count) == (JobState.RUNNING, 0)
    assert left.rewrapped_count < COUNT
    ended = await replica.finish(job)
    assert (ended.state, ended.rewrapped_count) == (JobState.SUCCEEDED, COUNT)
    assert (ended.skipped_count, ended.failed_count) == (0, 0)
    for ref in refs:
        versions = [(found.version, found.key_version) for found in await replica.keys.versions(ref)]
        assert versions == [(1, job.target - 1), (2, job.target)]
        assert (await replica.parts.vault.open(ref, 0)).fields == oauth1(ref.bot_id).fields
