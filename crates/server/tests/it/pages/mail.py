"""A mail server for tests: encrypted, with a password. Prints its port, then each mail that it takes as a line of JSON.

Arguments: the certificate and the key (PEM), `starttls` or `tls`."""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Keep:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        kept = {
            "to": envelope.rcpt_tos,
            "from": mail["from"],
            "subject": mail["subject"],
            "text": mail.get_content(),
            "encrypted": session.ssl is not None or mode == "tls",
        }
        print(json.dumps(kept), flush=True)
        return "250 2.0.0 kept"


def check(server, session, envelope, mechanism, given):
    success = (given.login, given.password) == (b"sealpost", b"secret")
    return AuthResult(success=success, handled=success)


certificate, key, mode = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)


def connection():
    starttls = mode == "starttls"
    return SMTP(
        Keep(),
        hostname="mail.test",
        tls_context=context if starttls else None,
        require_starttls=starttls,
        authenticator=check,
        auth_required=True,
        auth_require_tls=starttls,
    )


async def serve():
    server = await asyncio.get_running_loop().create_server(
        connection, "127.0.0.1", 0, ssl=context if mode == "tls" else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(serve())
