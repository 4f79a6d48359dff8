#!/usr/bin/env python3
"""A channel's receiver for the sign-flow callback, in plain Python (3.9 or later, nothing to install).

    PORT=8090 DATA=received SECRET=whsec_... python3 receiver.py

SECRET may be left out, or hold two secrets separated by a space while one is being rotated.
Put what your channel does with a callback into handle(). docs/channels.md explains every step.
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import re
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY, MAX_NESTING, TOLERANCE_SECONDS = 64 * 1024, 64, 300
LIMITS = {"sign_end_time": 32, "sign_flow_status": 32, "sign_flow_id": 32, "sign_file_url": 128}
SECRETS = [base64.b64decode(s.removeprefix("whsec_")) for s in os.environ.get("SECRET", "").split()]
if "SECRET" in os.environ and not (SECRETS and all(24 <= len(secret) <= 64 for secret in SECRETS)):
    raise SystemExit("SECRET is set, but holds no secret")  # rather than going without


def handle(callback):
    """Yours to fill in. Runs once per flow; runs again only if it raised or the process died inside it."""
    print("ended:", callback["sign_flow_id"], "as", callback["sign_flow_status"], flush=True)


class Refused(Exception):
    """The request is answered with this code, which is also the HTTP status."""


def parse(body):
    """The four members, or Refused(400)."""
    def once(pairs):
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("a member appears twice")
        return dict(pairs)

    def no_constant(name):
        raise ValueError(name + " is not JSON")

    def nesting(value):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(nesting, inner), default=0)

    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=once, parse_constant=no_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on half a surrogate pair
        if not isinstance(value, dict) or nesting(value) > MAX_NESTING:
            raise ValueError("not an object, or nested too deeply")
        callback = {name: value[name] for name in LIMITS}
        for name, text in callback.items():
            if not isinstance(text, str) or not 1 <= len(text) <= LIMITS[name]:  # characters, not bytes
                raise ValueError(name)
        if callback["sign_flow_status"] not in ("2", "3", "5", "7"):
            raise ValueError("sign_flow_status")
        if not re.fullmatch(r"[0-9]{4}(-[0-9]{2}){2} [0-9]{2}(:[0-9]{2}){2}", callback["sign_end_time"]):
            raise ValueError("sign_end_time")
        datetime.datetime(*map(int, re.split("[- :]", callback["sign_end_time"])))
        return callback
    except (ValueError, KeyError, RecursionError) as error:
        raise Refused(400) from error


def check_signature(headers, body):
    """Standard Webhooks: HMAC-SHA256 over id.timestamp.body. Does nothing when no secret is set."""
    if not SECRETS:
        return
    name, sent, given = (headers.get("webhook-" + part, "") for part in ("id", "timestamp", "signature"))
    if not name or "." in name or not re.fullmatch("[0-9]{1,15}", sent):
        raise Refused(401)
    if abs(time.time() - int(sent)) > TOLERANCE_SECONDS:
        raise Refused(401)
    signed = f"{name}.{sent}.".encode() + body
    expected = [b"v1," + base64.b64encode(hmac.new(s, signed, hashlib.sha256).digest()) for s in SECRETS]
    if not any(hmac.compare_digest(g.encode(), e) for g in given.split(" ") for e in expected):
        raise Refused(401)


class Inbox:
    """One row per flow, safe on disk when keep() returns."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
        self.db.execute("CREATE TABLE IF NOT EXISTS inbox (id TEXT PRIMARY KEY, members TEXT, handled INTEGER)")

    def keep_and_handle(self, callback):
        members = json.dumps(callback, sort_keys=True)
        with self.lock:  # two copies at once: the second finds what the first has done
            key = callback["sign_flow_id"]
            self.db.execute("INSERT OR IGNORE INTO inbox VALUES (?, ?, 0)", (key, members))
            kept, handled = self.db.execute("SELECT members, handled FROM inbox WHERE id = ?", (key,)).fetchone()
            if kept != members:
                print("another end for a flow that has ended:", callback, "kept:", kept, flush=True)
                raise Refused(409)
            if not handled:
                handle(callback)
                self.db.execute("UPDATE inbox SET handled = 1 WHERE id = ?", (key,))

    def handle_what_is_left(self):
        for (members,) in self.db.execute("SELECT members FROM inbox WHERE handled = 0").fetchall():
            try:
                self.keep_and_handle(json.loads(members))
            except Exception as error:  # it stays in the inbox for the next start
                print("not handled:", error, flush=True)


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10  # a client that stalls is let go

    def do_POST(self):
        try:
            length = int(self.headers.get("content-length") or -1)
            if length > MAX_BODY:
                self.close_connection = True
                for _ in range(min(length, 1024 * 1024) // 65536):  # so that the client gets to read the answer
                    self.rfile.read(65536)
                raise Refused(413)
            body = self.rfile.read(max(length, 0))
            check_signature(self.headers, body)
            if not re.fullmatch("application/([^;]+[+])?json", self.headers.get_content_type()) and "content-type" in self.headers:
                raise Refused(400)
            inbox.keep_and_handle(parse(body))
            self.answer(200, "000")
        except Refused as refused:
            self.answer(refused.args[0], str(refused.args[0]))
        except (TimeoutError, ConnectionError):  # nobody to answer any more
            self.close_connection = True
        except Exception as error:  # the platform will send it again
            print("not handled:", repr(error), flush=True)
            self.answer(500, "500")

    def do_GET(self):
        self.answer(405, "405")

    do_PUT = do_DELETE = do_GET

    def answer(self, status, code):
        body = json.dumps({"response_code": code}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        try:
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:  # the platform has gone; it will send it again
            self.close_connection = True

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    folder = os.environ.get("DATA", "received")
    os.makedirs(folder, exist_ok=True)
    inbox = Inbox(os.path.join(folder, "inbox.db"))
    inbox.handle_what_is_left()
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8090"))), Endpoint)
    print(f"listening on http://127.0.0.1:{server.server_port}/callback", flush=True)
    server.serve_forever()
