"""What no server here does: a gate in front of a real one that keeps chosen objects in an archive.

GET (and a copy from one) is answered with 403 InvalidObjectState, HEAD shows the class and how far
a restore is, POST ?restore is taken. All else goes to the server. Signatures of requests that
are answered here are not looked at.
"""
import contextlib
import urllib.parse

from gate import Gate

REFUSED = (b"<?xml version=\"1.0\"?><Error><Code>InvalidObjectState</Code><Message>The operation is "
           b"not valid for the object's storage class</Message></Error>")
ASKED = (b"<?xml version=\"1.0\"?><Error><Code>RestoreAlreadyInProgress</Code></Error>")


class ArchiveGate(Gate):
    def __init__(self, target_port, prefix="show 1"):
        self.prefix = prefix
        self.archived = {}     # name: "archived", "restoring" or "restored"
        self.tiering = set()   # of those, what is of Intelligent-Tiering
        self.asked = []        # (name, body) of each POST ?restore
        self.requests = []     # (method, name) of requests for what is archived
        super().__init__(target_port)

    def name_of(self, target):
        path = urllib.parse.unquote(target.split("?")[0])
        return next((name for name in self.archived if path.endswith(f"/{self.prefix}/{name}")), None)

    def copy_up(self, link, state):
        client, server = link
        buffered = b""
        with contextlib.suppress(OSError):
            while True:
                while b"\r\n\r\n" not in buffered:
                    data = client.recv(1 << 16)
                    if not data:
                        return
                    buffered += data
                head, buffered = buffered.split(b"\r\n\r\n", 1)
                fields = dict(line.split(b":", 1) for line in head.split(b"\r\n")[1:])
                length = int(fields.get(b"Content-Length", fields.get(b"content-length", b"0")))
                answer = None
                with self.lock:
                    self.wait_while_stalled(link, head.split(b"\r\n")[0])
                method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
                name = self.name_of(target)
                source = self.name_of(fields.get(b"x-amz-copy-source", b"").decode())
                small = length < 1 << 16
                while small and len(buffered) < length:
                    buffered += client.recv(1 << 16)
                if name or source:
                    answer = self.answer(method, target, name, source, buffered[:length])
                if answer is not None:
                    buffered = buffered[length:]
                    client.sendall(answer)
                    continue
                state["head"] = self.shown(name) if name and method == "HEAD" else b""
                server.sendall(head + b"\r\n\r\n")
                while length:
                    piece, buffered = buffered[:length], buffered[length:]
                    server.sendall(piece)
                    length -= len(piece)
                    if length:
                        buffered = client.recv(1 << 16)

    def answer(self, method, target, name, source, body):
        with self.lock:
            if source and self.archived[source] != "restored":
                return self.reply(403, "Forbidden", REFUSED)
            if not name:
                return None
            self.requests.append((method, name))
            if method == "GET" and "?" not in target and self.archived[name] != "restored":
                return self.reply(403, "Forbidden", REFUSED)
            if method == "POST" and "?restore" in target:
                self.asked.append((name, body))
                if self.archived[name] == "restoring":
                    return self.reply(409, "Conflict", ASKED)
                if self.archived[name] == "restored":
                    return self.reply(200, "OK", b"")
                self.archived[name] = "restoring"
                return self.reply(202, "Accepted", b"")
        return None

    @staticmethod
    def reply(status, text, body):
        return (f"HTTP/1.1 {status} {text}\r\nContent-Type: application/xml\r\n"
                f"Content-Length: {len(body)}\r\n\r\n").encode() + body

    def shown(self, name):
        with self.lock:
            lines = ["x-amz-storage-class: GLACIER"]
            if name in self.tiering:
                lines = ["x-amz-storage-class: INTELLIGENT_TIERING",
                         "x-amz-archive-status: ARCHIVE_ACCESS"]
            if self.archived[name] == "restoring":
                lines.append('x-amz-restore: ongoing-request="true"')
            if self.archived[name] == "restored":
                lines.append('x-amz-restore: ongoing-request="false", '
                             'expiry-date="Fri, 21 Dec 2035 00:00:00 GMT"')
        return "".join(f"{line}\r\n" for line in lines).encode()

    def copy_down(self, link, state):
        client, server = link
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if state.get("head"):
                    first, rest = data.split(b"\r\n", 1)
                    data = first + b"\r\n" + state["head"] + rest
                    state["head"] = b""
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(2)
