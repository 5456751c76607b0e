"""Following records live: the database tells what there is, NATS only that there is something.

owns     the one reader of new batches of a process, what each open tail has not taken yet, the pace of both
never    holds more than a bounded number of records for anybody; never leaves records out without a gap that counts them
called   by TailLogs for each stream, by whoever stores records (`wake`)

Read `hub.py`, then `tail.py`.
"""
