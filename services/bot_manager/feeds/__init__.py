"""RSS and Atom feeds as a source of posts.

    reader   reads the feeds whose schedules come up soon, outside of any transaction, and notes what is new
    source   gives an occurrence what was noted and not published yet, within the transaction that makes its posts
    fetcher  the way to a feed: bounded in time, size and redirects, and never into private networks (`guard`)
    parsing  what a feed says, as plain text

What was read stands in the database (`store/feeds.py`), so that any replica may read and any may publish, and an item that is still in
its feed never comes twice.
"""
