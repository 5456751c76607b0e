"""A fake of the one method of the Kubernetes API that a vault asks: who is it that a service account's token belongs to?"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

NAMESPACE = "vivesphere"
UID = "5f0d1c52-7c6e-4a53-9c4e-0f6a1b2c3d4e"


class Cluster:
    """Issues tokens and says which ones are good."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._living: dict[str, str] = {}

    def token(self, account: str) -> str:
        """A token of a pod that runs as `account`, as the kubelet mounts it."""
        pod = {"namespace": NAMESPACE, "serviceaccount": {"name": account, "uid": UID}}
        now = int(time.time())
        claims = {
            "sub": f"system:serviceaccount:{NAMESPACE}:{account}",
            "aud": ["https://kubernetes.default.svc"],
            "iss": "https://kubernetes.default.svc",
            "iat": now,
            "exp": now + 3600 + len(self._living),
            "kubernetes.io": pod,
        }
        token = jwt.encode(claims, self._key, algorithm="RS256")
        self._living[token] = account
        return token

    def rotate(self) -> None:
        """From now on no token that was issued is good."""
        self._living.clear()

    def review(self, token: str) -> dict[str, Any]:
        """The status of a TokenReview."""
        account = self._living.get(token)
        if account is None:
            return {"authenticated": False}
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"]
        user = {"username": f"system:serviceaccount:{NAMESPACE}:{account}", "uid": UID, "groups": groups}
        return {"authenticated": True, "user": user, "audiences": ["https://kubernetes.default.svc"]}


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster on the loopback."""
    found: list[Cluster] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # name of the base class
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            review["status"] = found[0].review(review["spec"]["token"])
            body = json.dumps(review).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.append(Cluster(f"http://127.0.0.1:{server.server_port}"))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield found[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
