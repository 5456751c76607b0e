"""Examples are held against the rules of buf.validate while they are made, by the engine that services use.

The types are made from the descriptor set's bytes, so nothing generated is needed. A set that has no such rules needs no engine.
"""

from typing import Any

from google.protobuf import descriptor_pb2, json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from protobuf import DescMessage

from gateway.transcoding.schema import Schema

_RULES = "buf.validate.field"


class Validator:
    """Counts how many rules a message breaks."""

    def __init__(self, schema: Schema) -> None:
        self._pool: DescriptorPool | None = None
        if schema.registry.extension(_RULES) is not None:
            self._pool = DescriptorPool()
            for file in descriptor_pb2.FileDescriptorSet.FromString(schema.raw).file:
                self._pool.AddSerializedFile(file.SerializeToString())

    def violations(self, desc: DescMessage, tree: dict[str, Any]) -> int:
        """How many rules the message breaks; 1 for a tree that is no such message."""
        if self._pool is None:
            return 0
        import protovalidate  # heavy, and needed by sets with rules only

        made = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(desc.type_name))()
        try:
            json_format.ParseDict(tree, made, descriptor_pool=self._pool)
        except json_format.ParseError:
            return 1
        try:
            protovalidate.validate(made)
        except protovalidate.ValidationError as error:
            return len(error.violations)
        return 0
