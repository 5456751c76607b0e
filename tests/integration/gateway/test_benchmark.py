"""The comparison with other gateways stands on processes of its own; a short form of it shows that it still runs."""

from pathlib import Path

from benchmarks.front.fanout import NDJSON, fan_out
from benchmarks.front.fronts import ONE_THING, OURS, all_fronts
from benchmarks.front.load import by_client


async def test_the_benchmark_measures_the_gateway_on_a_machine_without_rivals(tmp_path: Path) -> None:
    """Figures that nobody can repeat are worth nothing, so what makes them must run wherever the tests do."""
    notes: list[str] = []
    async with all_fronts(tmp_path, (OURS,), notes, go=False) as fronts:
        (ours,) = fronts
        answered = await by_client(ours.url + ONE_THING, requests=50)
        assert (answered.requests, answered.failed) == (50, 0)
        assert await fan_out(ours, clients=3, interval_ms=10, seconds=0.1, accept=NDJSON) is not None
        assert ours.cpu_seconds() > 0
        assert ours.resident_mib() > 0
    assert notes == []
    assert not ours.process.is_running()
