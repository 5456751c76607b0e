"""Pictures and films for posts: taken in, examined, kept until their posts are published, and brought to X shortly before.

Bytes live in PostgreSQL in pieces of 1 MiB, since replicas keep nothing of their own; nobody holds a whole film in memory.
"""
