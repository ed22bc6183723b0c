"""Networks of a test's own: namespaces with a cable between them, or a long line.

The kernel here may have no netem, so the long line is relay.py between two TUN devices. The cart is
in one namespace, what listens for it in the other; nothing of the machine's own network is touched.
"""
import contextlib
import ctypes
import fcntl
import os
import pathlib
import socket
import struct
import subprocess
import sys

from lib import run

HERE = pathlib.Path(__file__).parent
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


def has_tun():
    """A container may have no TUN devices."""
    return run("unshare", "-n", "ip", "tuntap", "add", "line0", "mode", "tun",
               check=False).returncode == 0


def set_up(device, own, other):
    run("ip", "link", "set", "lo", "up")
    run("ip", "addr", "add", own, "peer", other, "dev", device)
    run("ip", "link", "set", device, "up", "mtu", MTU)


def tun(own, other):
    """A device in the current namespace: what lies behind it is read from the descriptor."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"line0", IFF_TUN | IFF_NO_PI))
    set_up("line0", own, other)
    return device


class Ends:
    """The two ends of a cable or a line."""

    def __init__(self, stack):
        self.stack = stack
        self.namespaces = Namespaces()
        stack.callback(os.close, self.namespaces.home)
        self.cart = self.server = None
        self.far = "line0"  # the device at the server's end

    def new(self):
        """The namespace that this thread is in, to be closed at the end."""
        namespace = self.namespaces.opened()
        self.stack.callback(os.close, namespace)
        return namespace

    def at_the_cart(self):
        return self.namespaces.inside(self.cart)

    def listener(self):
        """A socket at the server's end."""
        with self.namespaces.inside(self.server):
            return socket.create_server((SERVER, 0))

    def at_cart(self, *command):
        with self.at_the_cart():
            run(*command)

    def route_back(self, address):
        """The server's end knows the way to an address that the cart's end has now."""
        with self.namespaces.inside(self.server):
            run("ip", "route", "replace", address, "dev", self.far)

    def down(self):
        """As when the cable is pulled: nothing is told to either end."""
        self.at_cart("ip", "link", "set", "line0", "down")

    def up(self):
        self.at_cart("ip", "link", "set", "line0", "up")


@contextlib.contextmanager
def cable():
    """Ends that are joined as fast as the machine can."""
    with contextlib.ExitStack() as stack:
        ends = Ends(stack)
        ends.far = "far0"
        with ends.namespaces.inside():
            ends.server = ends.new()
        with ends.namespaces.inside():
            ends.cart = ends.new()
            run("ip", "link", "add", "line0", "type", "veth", "peer", "name", "far0")
            run("ip", "link", "set", "far0", "netns", f"/proc/self/fd/{ends.server}",
                pass_fds=(ends.server,))
            set_up("line0", CART, SERVER)
        with ends.namespaces.inside(ends.server):
            set_up("far0", SERVER, CART)
        yield ends


@contextlib.contextmanager
def line(up, down, delay, loss, queue):
    """Ends with a long line between.

    @up, @down: bytes a second; @delay: seconds each way; @loss: of 1; @queue: seconds of what waits
    before the line, each way.
    """
    with contextlib.ExitStack() as stack:
        ends = Ends(stack)
        with ends.namespaces.inside():
            near = tun(CART, SERVER)
            stack.callback(os.close, near)
            ends.cart = ends.new()
        with ends.namespaces.inside():
            far = tun(SERVER, CART)
            stack.callback(os.close, far)
            ends.server = ends.new()
        relay = subprocess.Popen([sys.executable, HERE / "relay.py", str(near), str(far),
                                  *map(str, (up, down, delay, loss, queue))],
                                 pass_fds=(near, far))
        stack.callback(relay.wait)
        stack.callback(relay.kill)
        yield ends
