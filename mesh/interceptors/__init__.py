"""What happens around every call: one adapter that knows gRPC's four arities, one chain of stages in `chain.py`."""
