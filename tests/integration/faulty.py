"""A gate that reads HTTP: it spoils requests and answers of one kind, in every way that is seen."""
import collections
import contextlib
import re
import socket
import struct
import threading
import urllib.parse

CRLF = b"\r\n"
DRIP_S = 0.05  # between the bytes of one who drips
ERROR = (b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code>'
         b"<Message>made by the test</Message></Error>")


class Message:
    """A request or an answer: its first line, its header as a list, its body."""

    def __init__(self, first, header, body=b""):
        self.first, self.header, self.body = first, header, body

    def get(self, name):
        return next((value for key, value in self.header if key.lower() == name), None)

    def set(self, name, value):
        kept = [pair for pair in self.header if pair[0].lower() != name]
        self.header = kept + ([] if value is None else [(name, value)])

    def head(self):
        lines = [self.first, *(f"{name}: {value}" for name, value in self.header)]
        return "\r\n".join(lines).encode("latin-1") + CRLF + CRLF


class Reader:
    def __init__(self, end):
        self.end, self.kept = end, b""

    def more(self):
        data = self.end.recv(1 << 18)
        if not data:
            raise ConnectionError("it ended")
        self.kept += data

    def until(self, mark):
        while mark not in self.kept:
            self.more()
        found, self.kept = self.kept.split(mark, 1)
        return found

    def exactly(self, size):
        parts, have = [self.kept], len(self.kept)
        while have < size:
            parts.append(self.end.recv(1 << 20))
            if not parts[-1]:
                raise ConnectionError("it ended")
            have += len(parts[-1])
        data = b"".join(parts)
        self.kept = data[size:]
        return data[:size]

    def message(self, has_body=True):
        first, *lines = self.until(CRLF + CRLF).decode("latin-1").split("\r\n")
        message = Message(first, [tuple(part.strip() for part in line.split(":", 1))
                                  for line in lines])
        if has_body and "chunked" in (message.get("transfer-encoding") or ""):
            while size := int(self.until(CRLF).split(b";")[0], 16):
                message.body += self.exactly(size)
                self.until(CRLF)
            self.until(CRLF)
            message.set("transfer-encoding", None)
            message.set("content-length", str(len(message.body)))
        elif has_body:
            message.body = self.exactly(int(message.get("content-length") or 0))
        return message


def kind_of(request):
    """What S3 calls it; objects of mediafs's own are "own"."""
    method, target, _ = request.first.split(" ")
    path, _, query = target.partition("?")
    copies = request.get("x-amz-copy-source") is not None
    if "/.mediafs/" in path:
        return "own"
    if "uploadId=" in query:
        return {"PUT": "UploadPartCopy" if copies else "UploadPart", "POST": "Complete",
                "GET": "ListParts", "DELETE": "Abort"}[method]
    if method == "POST" and re.search(r"(^|&)uploads(=|&|$)", query):
        return "Create"
    return "Copy" if copies else method


def key_of(request):
    path = request.first.split(" ")[1].partition("?")[0]
    return urllib.parse.unquote(path.split("/", 2)[2])


class Broken(Exception):
    """The connection to the client is at its end."""


def reset(end):
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def flipped(data):
    """One bit in the middle is another one."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1:]


class Link:
    """One client's connection, and ours to the server for it."""

    def __init__(self, gate, client):
        self.gate, self.client = gate, client
        self.reader = Reader(client)
        self.server = None

    def forward(self, request, head=None, body=None):
        """The server's answer."""
        if not self.server:
            self.server = socket.create_connection(self.gate.target)
        self.server.sendall(head or request.head())
        self.server.sendall(request.body if body is None else body)
        answer = Reader(self.server).message(not request.first.startswith("HEAD"))
        if (answer.get("connection") or "").lower() == "close":
            self.server.close()
            self.server = None
        return answer

    def answer(self, answer):
        self.client.sendall(answer.head() + answer.body)
        if (answer.get("connection") or "").lower() == "close":
            raise Broken

    def is_there(self):
        """The client has not hung up."""
        with contextlib.suppress(BlockingIOError):
            try:
                return self.client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
            except ConnectionError:
                return False
        return True

    def hang(self):
        while self.is_there() and not self.gate.ended.wait(DRIP_S):
            pass
        raise Broken

    def drip(self, data):
        """Byte by byte until the client has had enough."""
        for at in range(len(data)):
            self.client.sendall(data[at:at + 1])
            if self.gate.ended.wait(DRIP_S):
                raise Broken
        raise Broken

    def refuse(self, status, code=None, header=()):
        body = ERROR % code.encode() if code else b""
        self.answer(Message(f"HTTP/1.1 {status}", [("content-length", str(len(body))), *header],
                            b"" if self.is_head else body))

    def serve(self):
        while True:
            request = self.reader.message()
            self.is_head = request.first.startswith("HEAD")
            fault = self.gate.take(request)
            if fault:
                FAULTS[fault](self, request)
            else:
                self.answer(self.forward(request))

    def close(self):
        for end in (self.client, self.server):
            if end:
                end.close()


# What may go wrong: each takes the link and a whole request. -------------------------------


def down_cut(link, request):
    answer = link.forward(request)
    data = answer.head() + answer.body
    link.client.sendall(data[:len(data) - (len(answer.body) // 2 or 20)])
    raise Broken


def down_reset(link, request):
    answer = link.forward(request)
    data = answer.head() + answer.body
    link.client.sendall(data[:len(data) - (len(answer.body) // 2 or 20)])
    reset(link.client)
    raise Broken


def down_drip_head(link, request):
    answer = link.forward(request)
    link.drip(answer.head() + answer.body)


def down_drip_body(link, request):
    answer = link.forward(request)
    link.client.sendall(answer.head())
    link.drip(answer.body)


def down_silent(link, request):
    """Done, and nothing is said."""
    link.forward(request)
    link.hang()


def down_flip(link, request):
    answer = link.forward(request)
    answer.body = flipped(answer.body)
    link.answer(answer)


def down_other_range(link, request):
    """The header says another range than the bytes are."""
    answer = link.forward(request)
    if answer.get("content-range"):
        first, last, total = map(int, re.findall(r"\d+", answer.get("content-range")))
        answer.set("content-range", f"bytes {first + 4096}-{last + 4096}/{total + 4096}")
    link.answer(answer)


def down_shifted(link, request):
    """The header says what was asked for, the bytes are those of another place."""
    answer = link.forward(request)
    answer.body = answer.body[4096:] + answer.body[:4096]
    link.answer(answer)


def down_all(link, request):
    """As a server that knows no ranges, and sends from the beginning."""
    answer = link.forward(request)
    answer.first = "HTTP/1.1 200 OK"
    answer.set("content-range", None)
    link.answer(answer)


def down_short(link, request):
    """A Content-Length that is too small, and fits the bytes."""
    answer = link.forward(request)
    answer.body = answer.body[:len(answer.body) // 2]
    answer.set("content-length", str(len(answer.body) or int(answer.get("content-length")) // 2))
    link.answer(answer)


def down_long(link, request):
    """A Content-Length that is too large: nothing follows."""
    answer = link.forward(request)
    answer.set("content-length", str(int(answer.get("content-length") or 0) + 1000))
    link.answer(answer)
    raise Broken


def down_other_etag(link, request):
    answer = link.forward(request)
    answer.set("etag", '"0123456789abcdef0123456789abcdef"')
    link.answer(answer)


def down_lost(link, request):
    """Done, and the answer is lost."""
    link.forward(request)
    raise Broken


def down_500(link, request):
    """Done, and said to have failed."""
    link.forward(request)
    link.refuse("500 Internal Server Error", "InternalError")


def down_garbage(link, request):
    link.forward(request)
    link.client.sendall(b"\x16\x03\x01 <html>captive portal\r\n\r\n")
    raise Broken


def down_200_error(link, request):
    """Done, and a 200 that says it was not."""
    link.forward(request)
    link.refuse("200 OK", "InternalError")


def up_200_error(link, _request):
    """Not done, and a 200 whose body says so."""
    link.refuse("200 OK", "InternalError")


def up_cut(link, request):
    """Half of it reaches the server."""
    with socket.create_connection(link.gate.target) as server:
        data = request.head() + request.body
        server.sendall(data[:len(data) - (len(request.body) // 2 or 20)])
    raise Broken


def up_reset(link, request):
    with socket.create_connection(link.gate.target) as server:
        data = request.head() + request.body
        server.sendall(data[:len(data) - (len(request.body) // 2 or 20)])
        reset(server)
    reset(link.client)
    raise Broken


def up_flip(link, request):
    if not request.body:
        return link.answer(link.forward(request))
    return link.answer(link.forward(request, body=flipped(request.body)))


def up_short(link, request):
    """The server is told a length that is too small, and gets so much."""
    head = Message(request.first, list(request.header))
    body = request.body[:len(request.body) // 2]
    head.set("content-length", str(len(body)))
    return link.answer(link.forward(request, head.head(), body))


def up_drip(link, request):
    """The server gets it byte by byte, slower than anybody waits."""
    with socket.create_connection(link.gate.target) as server:
        for at, byte in enumerate(request.head() + request.body):
            server.sendall(bytes([byte]))
            if at > 50 and (link.gate.ended.wait(DRIP_S) or not link.is_there()):
                break
    raise Broken


def up_silent(link, _request):
    link.hang()


def up_500(link, _request):
    link.refuse("500 Internal Server Error", "InternalError")


def up_503(link, _request):
    link.refuse("503 Slow Down", "SlowDown")


def up_503_after(link, _request):
    link.refuse("503 Service Unavailable", header=[("Retry-After", "1")])


def up_301(link, _request):
    link.refuse("301 Moved Permanently", "PermanentRedirect",
                [("x-amz-bucket-region", "us-east-1")])


def up_307(link, _request):
    link.refuse("307 Temporary Redirect", "TemporaryRedirect",
                [("location", "http://127.0.0.1:1/elsewhere")])


FAULTS = {name.replace("_", " "): value for name, value in list(globals().items())
          if name.startswith(("up_", "down_"))}


class Faulty:
    """In front of a server; faults = {kind of request: [name of the fault, how often]}."""

    link = Link

    def __init__(self, target_port):
        self.target = ("127.0.0.1", target_port)
        self.lock = threading.Lock()
        self.faults = {}
        self.done = {}   # how often a fault was made of a kind of request
        self.creations = collections.Counter()  # uploads begun, by key
        self.ended = threading.Event()
        self.links = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def break_next(self, kind, fault, count=1 << 30):
        with self.lock:
            self.done[kind] = 0
            self.faults[kind] = [fault, count]

    def heal(self):
        """No more faults; who hangs in one is let go."""
        with self.lock:
            self.faults = {}
            links, self.links = self.links, set()
        for link in links:
            with contextlib.suppress(OSError):
                link.client.shutdown(socket.SHUT_RDWR)

    def take(self, request):
        """The name of the fault that this one has, or None."""
        kind = kind_of(request)
        with self.lock:
            if kind == "Create":
                self.creations[key_of(request)] += 1
            fault = self.faults.get(kind)
            if not fault or fault[1] == 0:
                return None
            fault[1] -= 1
            self.done[kind] += 1
            return fault[0]

    def accept(self):
        while not self.ended.is_set():
            with contextlib.suppress(OSError):
                client, _ = self.listener.accept()
                threading.Thread(target=self.relay, args=(client,), daemon=True).start()

    def relay(self, client):
        link = self.link(self, client)
        with self.lock:
            self.links.add(link)
        with contextlib.suppress(OSError, Broken, ValueError):
            link.serve()
        with self.lock:
            self.links.discard(link)
        link.close()

    def close(self):
        self.ended.set()
        self.listener.close()
        self.heal()
