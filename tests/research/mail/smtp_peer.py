"""An SMTP server on loopback: `smtp_peer.py MODE [CERTIFICATE KEY]`.

Prints `listening PORT`, then JSON lines: {"heard": bytes as they came, in clear or decrypted}, {"mail": ...},
{"closed": null} at the end of a connection.
Modes:
  plain      takes everything, offers no STARTTLS
  choosy     as plain, but has no mailbox for addresses that begin with nobody
  starttls   offers STARTTLS, and takes nothing before it
  login      as starttls, and wants the user fcdd with the password correct
  tls        TLS from the first byte
  silent     takes the connection and never says a word
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

mode = sys.argv[1]


def say(**what):
    print(json.dumps(what), flush=True)


def lines(part):
    return part.get_content().replace("\r\n", "\n")


class Heard(SMTP):
    def data_received(self, data):
        say(heard=data.decode("latin-1"))
        super().data_received(data)

    def connection_lost(self, error):
        say(closed=None)
        super().connection_lost(error)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if mode == "choosy" and address.startswith("nobody"):
            return "550 5.1.1 no such mailbox here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say(
            mail={
                "envelope": [envelope.mail_from, envelope.rcpt_tos],
                "headers": {name: str(value) for name, value in message.items()},
                "text": lines(message.get_body(("plain",))),
                "attachments": {part.get_filename(): lines(part) for part in message.iter_attachments()},
                "encrypted": session.ssl is not None or mode == "tls",
            }
        )
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"fcdd", b"correct"), handled=False)


class Silent(asyncio.Protocol):
    def data_received(self, data):
        say(heard=data.decode("latin-1"))


context = None
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
options = {"hostname": "peer.example.org"}
if mode in ("starttls", "login"):
    options |= {"tls_context": context, "require_starttls": True}
if mode == "login":
    options |= {"authenticator": authenticate, "auth_required": True}

loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
protocol = Silent if mode == "silent" else lambda: Heard(Handler(), loop=loop, **options)
server = loop.run_until_complete(
    loop.create_server(protocol, "127.0.0.1", 0, ssl=context if mode == "tls" else None)
)
print("listening", server.sockets[0].getsockname()[1], flush=True)
# The parent closes standard input when it is done with us.
loop.run_until_complete(loop.run_in_executor(None, sys.stdin.read))
