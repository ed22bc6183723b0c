"""An upload over a line that is slow, long and loses packets.

The kernel here may have no netem, so the line is relay.py between two TUN devices, each in a
network namespace of its own: the cart is in one, a gate to the server listens in the other.
"""
import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading

from gate import Gate

from ground import HOUR, TOP, in_turns, run, seconds
from rows_s3 import bucket_of, send

MTU = 1500
HEADERS = 52  # IPv4, TCP with its time stamps
CART, SERVER = "10.99.0.1", "10.99.0.2"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), "network namespace: " + os.strerror(ctypes.get_errno()))


class Namespaces:
    """This thread's network; who is started while it is in another one stays there."""

    def __init__(self):
        self.home = self.opened()

    @staticmethod
    def opened():
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @contextlib.contextmanager
    def inside(self, namespace=None):
        """In a namespace, or in a new one."""
        if namespace is None:
            check(libc.unshare(CLONE_NEWNET))
        else:
            check(libc.setns(namespace, CLONE_NEWNET))
        try:
            yield
        finally:
            check(libc.setns(self.home, CLONE_NEWNET))


def tun(own, other):
    """A device in the current namespace: what lies behind it is read from the descriptor."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"line0", IFF_TUN | IFF_NO_PI))
    run("ip", "link", "set", "lo", "up")
    run("ip", "addr", "add", own, "peer", other, "dev", "line0")
    run("ip", "link", "set", "line0", "up", "mtu", MTU)
    return device


@contextlib.contextmanager
def line(rate, delay, loss):
    """(enter the cart's end, two sockets that listen at the server's end)"""
    with contextlib.ExitStack() as stack:
        namespaces = Namespaces()
        stack.callback(os.close, namespaces.home)
        with namespaces.inside():
            near = tun(CART, SERVER)
            stack.callback(os.close, near)
            cart = namespaces.opened()
            stack.callback(os.close, cart)
        with namespaces.inside():
            far = tun(SERVER, CART)
            stack.callback(os.close, far)
            listeners = [socket.create_server((SERVER, 0)) for _ in range(2)]
        relay = subprocess.Popen([sys.executable, TOP / "tests/bench/relay.py", str(near), str(far),
                                  str(rate), str(delay), str(loss)], pass_fds=(near, far))
        stack.callback(relay.wait)
        stack.callback(relay.kill)
        yield lambda: namespaces.inside(cart), *listeners


def round_trip(address):
    """Seconds that a connection takes; one packet that is lost costs more than a second."""
    def connect():
        with socket.create_connection(address, timeout=60):
            pass
    return min(seconds(connect) for _ in range(5))


def plain(size, enter, listener):
    """Seconds that one TCP stream of so many bytes takes: what the line really carries."""
    def take_all():
        link, _ = listener.accept()
        with link:
            while link.recv(1 << 18):
                pass
            link.sendall(b".")

    def give_all():
        with enter(), socket.create_connection(listener.getsockname()) as link:
            link.sendall(bytes(size))
            link.shutdown(socket.SHUT_WR)
            assert link.recv(1) == b"."
    taker = threading.Thread(target=take_all, daemon=True)
    taker.start()
    took = seconds(give_all)
    taker.join()
    return took


def measure_link(ground):
    megabits, milliseconds, percent = (float(word) for word in ground.link.split(","))
    rate = megabits * 1e6 / 8
    payload = rate * (MTU - HEADERS) / MTU
    size = int(payload * (1 if ground.quick else 30))
    with bucket_of(ground) as bucket, \
            line(rate, milliseconds / 1000, percent / 100) as (at_the_cart, listener, sink), \
            contextlib.closing(sink), \
            contextlib.closing(Gate(bucket.port, listener=listener)) as gate:
        where = {"host": SERVER, "port": gate.port}
        with at_the_cart():
            trip = round_trip((SERVER, gate.port))
            site = ground.site(tier=bucket.url("link", **where)).mount()
        assert trip >= 2 * milliseconds / 1000, f"a round trip takes {trip} s"
        for number in ground.rounds:
            clip = ground.clip(f"far-{number}.mov", size)

            def ours():
                site.cmd("pause")
                run("cp", clip, site.mnt)
                return size / send(site, clip.name)[0] / 1e6

            def theirs():
                with at_the_cart():
                    return size / seconds(lambda: bucket.rclone_put(clip, clip.name, **where)) / 1e6
            our_rate, their_rate = in_turns(number, ours, theirs)
            stream = size / plain(size, at_the_cart, sink) / 1e6
            assert max(our_rate, their_rate, stream) * 1e6 < 1.02 * payload, "the line has no limit"
            ground.note("link", our_rate, stream)
            ground.note("link rclone", our_rate, their_rate)
            clip.unlink()
        ground.drop(site)
