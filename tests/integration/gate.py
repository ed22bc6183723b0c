"""A gate in front of a server: counts, holds, cuts, changes what passes."""
import collections
import contextlib
import socket
import ssl
import subprocess
import sys
import threading


class Gate:
    """A TCP relay on a port of its own, or behind a socket that listens elsewhere."""

    def __init__(self, target_port, certificate=None, listener=None):
        self.target = ("127.0.0.1", target_port)
        self.lock = threading.Condition()
        self.is_open = True
        self.sent = 0          # bytes that went to the server
        self.hold_at = None    # no more than so many bytes go to the server
        self.swallow = None    # bytes of a request whose answer is lost, once
        self.swallowed = 0
        self.shut_when_swallowed = False
        self.spoil_down = 0    # so many large pieces from the server get one bit flipped
        self.stall = None      # what the first line of requests holds that go no further
        self.stalled = 0       # such requests that wait now
        self.stalled_most = 0
        self.refuse = None     # what the first line of requests holds that get 503 SlowDown
        self.refused = 0
        self.retry_after = 0   # seconds that a refusal asks for
        self.reject = None     # what the header of requests holds that get 400, as by a server
        self.reject_with = b"400 Bad Request", b"InvalidRequest"
        self.rejected = 0      # that does not know it
        self.pace = 0          # seconds that each 64 KiB to the server takes, on each connection
        self.pace_down = 0     # the same from the server
        self.watch = None      # what a request's first line holds that is to be seen
        self.seen = []
        self.came = 0          # bytes from the server on connections where one was seen
        self.passed = collections.Counter()  # by such lines, bytes that went to the server
        self.copies = []       # first lines of requests that make the server copy an object
        self.links = set()
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        self.listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.ended = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.ended:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if not self.is_open:
                client.close()
                continue
            threading.Thread(target=self.relay, args=(client,), daemon=True).start()

    def relay(self, client):
        with contextlib.suppress(OSError, ssl.SSLError):
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
            server = socket.create_connection(self.target)
            link = (client, server)
            with self.lock:
                if not self.is_open:  # shut since this one was accepted
                    client.close()
                    server.close()
                    return
                self.links.add(link)
            state = {"lost": False}
            down = threading.Thread(target=self.copy_down, args=(link, state), daemon=True)
            down.start()
            self.copy_up(link, state)
            down.join()
            with self.lock:
                self.links.discard(link)
            for end in link:
                end.close()

    def copy_up(self, link, state):
        client, server = link
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := client.recv(1 << 16):
                with self.lock:
                    line = data.split(b"\r\n", 1)[0]
                    if self.watch and self.watch in line:
                        self.seen.append(line)
                        state["line"] = line
                    if b"\r\nx-amz-copy-source:" in data:
                        self.copies.append(line)
                    self.wait_while_stalled(link, line)
                    if self.refuse and self.refuse in line:
                        self.refused += 1
                        answer = b"503 Slow Down", b"SlowDown"
                        break
                    if self.reject and self.reject in data.split(b"\r\n\r\n", 1)[0]:
                        self.rejected += 1
                        answer = self.reject_with
                        break
                    if self.swallow and self.swallow in data:
                        self.swallow = None
                        self.swallowed += 1
                        state["lost"] = True
                    while self.hold_at is not None and self.sent + len(data) > self.hold_at:
                        self.lock.wait(0.1)
                        if link not in self.links:
                            return
                    self.sent += len(data)
                    if "line" in state:
                        self.passed[state["line"]] += len(data)
                    self.lock.notify_all()
                if self.pace:
                    threading.Event().wait(self.pace * len(data) / (1 << 16))
                server.sendall(data)
            if data:
                self.send_refusal(client, *answer)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def send_refusal(self, client, status, code):
        """An answer in the middle of the request: what is still on its way is thrown away."""
        body = b"<Error><Code>%s</Code></Error>" % code
        wait = b"Retry-After: %d\r\n" % self.retry_after if self.retry_after else b""
        client.sendall(b"HTTP/1.1 %s\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s"
                       % (status, wait, len(body), body))
        while client.recv(1 << 16):
            pass

    def wait_while_stalled(self, link, line):
        if not self.stall or self.stall not in line:
            return
        self.stalled += 1
        self.stalled_most = max(self.stalled_most, self.stalled)
        while self.stall and self.stall in line and link in self.links:
            self.lock.wait(0.1)
        self.stalled -= 1

    def copy_down(self, link, state):
        client, server = link
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := server.recv(1 << 16):
                if state["lost"]:
                    if self.shut_when_swallowed:
                        self.shut()
                    break
                with self.lock:
                    if self.spoil_down and len(data) > 4096:
                        self.spoil_down -= 1
                        data = data[:-1] + bytes([data[-1] ^ 1])
                    if "line" in state:
                        self.came += len(data)
                client.sendall(data)
                if self.pace_down:
                    threading.Event().wait(self.pace_down * len(data) / (1 << 16))
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def cut(self):
        """Every connection ends now."""
        with self.lock:
            links = list(self.links)
            self.links.clear()
            self.lock.notify_all()
        for link in links:
            for end in link:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def shut(self):
        """The server is gone."""
        with self.lock:
            self.is_open = False
        self.cut()

    def open(self):
        self.is_open = True

    def hold(self, more):
        """Let @more bytes through to the server, then none until release()."""
        with self.lock:
            self.hold_at = self.sent + more

    def release(self):
        with self.lock:
            self.hold_at = None
            self.lock.notify_all()

    def close(self):
        self.ended = True
        self.listener.close()
        self.release()
        self.cut()


class Door:
    """A gate that can only be shut and opened, in a process of its own.

    So it goes on while a test's process waits for a mount with Python's lock held, as in a mapping.
    """

    def __init__(self, target_port):
        self.process = subprocess.Popen([sys.executable, __file__, str(target_port)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())

    def tell(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == word + "\n"

    def shut(self):
        self.tell("shut")

    def open(self):
        self.tell("open")

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def main():
    gate = Gate(int(sys.argv[1]))
    print(gate.port, flush=True)
    for line in sys.stdin:
        getattr(gate, line.strip())()
        print(line, end="", flush=True)


if __name__ == "__main__":
    main()
