"""Webhooks: events become deliveries, deliveries become signed calls, and what came of each call is kept.

    events ─▶ making: a delivery for each webhook that wants it ─▶ sending: taken, called, settled ─▶ log
                                                                   └ not taken: due again, ever later, for a day

What makes them holds the cursor's lock, so each event is turned into deliveries once. What sends them takes a delivery for half a minute;
a process that dies after a call and before its outcome was written leaves a delivery that is sent again with the same id.
"""
