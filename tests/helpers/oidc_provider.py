"""A sign-in provider (OpenID Connect) for tests and for trying sign-in on one's own computer: whoever asks is let in.

    python tests/helpers/oidc_provider.py 9000

Its page asks nothing but a name. Never for real use: there is no password.
"""

import base64
import html
import json
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT = "scfviz-test"


class Provider:
    """The provider on a port of this computer, in a thread of its own."""

    def __init__(self, port: int = 0):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.answer(self)

            def do_POST(self) -> None:
                provider.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("localhost", port), Handler)
        self.url = f"http://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def secrets(self, app_url: str) -> str:
        """The text of the `secrets.toml` with which an app uses this provider."""
        return (
            f'[auth]\nredirect_uri = "{app_url}/oauth2callback"\ncookie_secret = "{secrets.token_hex(32)}"\n'
            f'client_id = "{CLIENT}"\nclient_secret = "not a secret"\n'
            f'server_metadata_url = "{self.url}/.well-known/openid-configuration"\n'
        )

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/.well-known/openid-configuration":
            self._send(request, self._metadata())
        elif parts.path == "/keys":
            numbers = self.key.public_key().public_numbers()
            key = {
                "kty": "RSA",
                "use": "sig",
                "alg": "RS256",
                "kid": "1",
                "n": _number(numbers.n),
                "e": _number(numbers.e),
            }
            self._send(request, {"keys": [key]})
        elif parts.path == "/authorize" and "name" not in asked:
            fields = "".join(
                f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
                for name, value in asked.items()
            )
            form = f'{fields}<label>Name <input name="name"></label><button>Go on</button>'
            self._send(request, f'<form action="/authorize">{form}</form>'.encode(), "text/html")
        elif parts.path == "/authorize":
            code = secrets.token_hex(8)
            self.codes[code] = asked
            request.send_response(302)
            back = urlencode({"code": code, "state": asked["state"]})
            request.send_header("Location", f"{asked['redirect_uri']}?{back}")
            request.end_headers()
        elif parts.path == "/token":
            body = request.rfile.read(int(request.headers["Content-Length"])).decode()
            asked = self.codes.pop(parse_qs(body)["code"][0])
            token = {"access_token": "none", "token_type": "Bearer", "expires_in": 3600}
            self._send(request, token | {"id_token": self._id_token(asked)})
        else:
            request.send_error(404)

    def _metadata(self) -> dict:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def _id_token(self, asked: dict[str, str]) -> str:
        name, now = asked["name"], int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": f"id of {name}", "name": name, "email": f"{name}@localhost"}
        claims |= {"iat": now, "exp": now + 3600} | ({"nonce": asked["nonce"]} if "nonce" in asked else {})
        signed = ".".join(_text(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1"}, claims))
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_text(signature)}"

    def _send(self, request: BaseHTTPRequestHandler, content, kind: str = "application/json") -> None:
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


if __name__ == "__main__":
    provider = Provider(int(sys.argv[1]) if len(sys.argv) > 1 else 9000)
    sys.stdout.write(f"{provider.secrets('http://localhost:8501')}\n# Put these lines into ~/.streamlit/secrets.toml\n")
    sys.stdout.flush()
    threading.Event().wait()
