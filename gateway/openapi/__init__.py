"""OpenAPI 3.1 from descriptors: what the gateway serves, described by the contract it serves.

`document(schema)` makes the whole. What it says comes from nowhere else: routes from `google.api.http` as the transcoder reads
it, descriptions from comments, access from `vivesphere.mesh.v1.access`, limits from `buf.validate`. Where a descriptor set has
none of these options or no comments, the document says less and is right all the same.

    comments.py, prose.py, contract.py      what the contract says
    well_known.py, rules.py, presence.py → schemas.py    messages → JSON Schemas
    paths.py, parameters.py, bodies.py, media.py         requests
    answers.py, failures.py, security.py                 answers, and who may ask
    patterns.py, values.py, validation.py → examples.py → illustration.py    examples
    operations.py → document.py             the whole
    published.py                            as it is served
"""

from gateway.openapi.document import About, describe
from gateway.openapi.well_known import Json
from gateway.transcoding.schema import Schema

__all__ = ["About", "document"]


def document(schema: Schema, about: About | None = None) -> Json:
    """The OpenAPI document of a descriptor set, ready for json.dumps."""
    return describe(schema, about or About(title="API", version="1")).json
