"""Requests of searches, as the store is asked."""

from services.logging import convert
from services.logging.domain.histogram import EPOCH, Grouping, Tally, buckets
from vivesphere.logging.v1 import log_record_pb2, log_service_pb2


def test_a_filter_holds_nothing_that_the_database_cannot_be_asked_for() -> None:
    """PostgreSQL refuses NUL in a text; what was stored of one is shown as its symbol, and found by the same."""
    request = log_service_pb2.QueryLogsRequest(
        text="a\0b", actor="\0", service="\0", request_id="\0", attributes={"n\0": "v\0"}
    )
    wanted = convert.filter_from(request, log_record_pb2.LOG_ORDER_OLDEST_FIRST)
    assert (wanted.text, wanted.actor, wanted.service, wanted.request_id) == ("a␀b", "␀", "␀", "␀")
    assert wanted.attributes == {"n␀": "v␀"}
    assert wanted.oldest_first


def test_counts_beyond_what_the_contract_holds_are_as_much_as_it_holds() -> None:
    """2,147,483,647 stands for that many or more; a wrong sign would be a lie."""
    most = 2**31 - 1
    asked = buckets(EPOCH, EPOCH.replace(hour=2), 3600)
    tallies = [Tally(EPOCH, "a", most), Tally(EPOCH, "b", 2**40), Tally(EPOCH.replace(hour=1), "a", 1)]
    answer = convert.histogram_to(asked, Grouping.SERVICE, tallies)
    assert [bucket.count for bucket in answer.buckets] == [most, 1]
    assert dict(answer.buckets[0].groups) == {"a": most, "b": most}
    assert answer.total_count == most
