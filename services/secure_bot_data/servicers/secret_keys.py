"""SecretKeyService: convert, call, convert."""

from vivesphere.secure_bot_data.v1 import secret_key_service_pb2_grpc as pb2_grpc


class SecretKeyServicer(pb2_grpc.SecretKeyServiceServicer):
    """Serves the contract."""
