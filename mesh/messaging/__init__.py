"""Messages between the processes of the mesh, over NATS with JetStream.

owns     the one connection of a process, publishing with acknowledgement, hints, durable consumers, the definition of the streams
never    creates streams or consumers while serving (the set-up job does); never keeps a message that must not be lost (the outbox does)
called   by mesh.outbox, mesh.telemetry.shipper, and by services that consume
"""

from mesh.messaging.connection import Messaging, Outgoing
from mesh.messaging.failure import MessagingUnavailable
from mesh.messaging.message import Message, Reject, Retry

__all__ = ["Message", "Messaging", "MessagingUnavailable", "Outgoing", "Reject", "Retry"]
