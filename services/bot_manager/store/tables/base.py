"""What every module of tables shares: the metadata, and the types of columns.

Names are unqualified: the role's search_path is its schema. Text that is compared or sorted has collation C, so that lists have one
order whatever the server's locale.
"""

from sqlalchemy import DateTime, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

NAME = Text(collation="C")
TIME = DateTime(timezone=True)
ID = Uuid(as_uuid=False)
DOCUMENT = JSONB(none_as_null=True)
"""A JSON object or array, or NULL where there is none."""
