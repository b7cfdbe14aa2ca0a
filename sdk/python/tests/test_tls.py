"""A node with a certificate that no system trusts."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
import unittest

import kontor
from tests.fake import TOKEN, FakeNode, ok


@unittest.skipIf(shutil.which("openssl") is None, "openssl is not installed")
class TestTLS(unittest.TestCase):
    def certificate(self, folder: str, name: str) -> "tuple[str, str]":
        """A certificate for itself, and its key."""
        cert, key = os.path.join(folder, name + ".crt"), os.path.join(folder, name + ".key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=" + name, "-addext", "subjectAltName=IP:" + name, "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        return cert, key

    def ask(self, folder: str, name: str, **how: str) -> str:
        """Asks a node that shows the certificate of a name."""
        cert, key = self.certificate(folder, name)
        node = FakeNode()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        node.server.socket = context.wrap_socket(node.server.socket, server_side=True)
        node.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that go away
        node.on("GET", "/v1/node", ok({"name": "bank"}))
        with node:
            client = kontor.Client(node.url.replace("http:", "https:"), TOKEN, timeout=10, **how)
            client._conn.sleep = lambda _: None
            try:
                return client.node().name
            finally:
                self.asked = len(node.requests)

    def test_certificates_are_verified(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(kontor.Denied, "KONTOR_CA"):
                self.ask(folder, "127.0.0.1")
            other, _ = self.certificate(folder, "127.0.0.2")
            with self.assertRaises(kontor.Denied):
                self.ask(folder, "127.0.0.1", ca=other)
            with self.assertRaises(kontor.Denied):  # good, but of another name
                self.ask(folder, "127.0.0.2", ca=other)
            self.assertEqual(self.asked, 0)
            self.assertEqual(self.ask(folder, "127.0.0.1", ca=os.path.join(folder, "127.0.0.1.crt")), "bank")

    def test_files_that_hold_no_certificate(self) -> None:
        with self.assertRaises(kontor.Error) as caught:
            kontor.Client("https://127.0.0.1:1", TOKEN, ca=os.path.join(os.path.dirname(__file__), "nothing"))
        self.assertEqual(caught.exception.kind, "usage")


if __name__ == "__main__":
    unittest.main()
