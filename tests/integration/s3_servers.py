"""Real S3 servers on loopback, from Debian's packages: Ceph's RGW, and OpenStack Swift's s3api.

With MEDIAFS_TEST_S3_ENDPOINT (http://127.0.0.1:PORT), _KEY and _SECRET a server that somebody else
started takes their place. A server is shared by all workers of a run (it takes seconds to start) and stopped by the last one.
"""
import contextlib
import fcntl
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess

from lib import PATIENCE, run, wait_for

ENDPOINT = os.environ.get("MEDIAFS_TEST_S3_ENDPOINT")
ACCESS = os.environ.get("MEDIAFS_TEST_S3_KEY", "MEDIAFSTEST0000000001")
SECRET = os.environ.get("MEDIAFS_TEST_S3_SECRET", "mediafs/test+secret=0123456789abcdefghijk")
USUAL = "given" if ENDPOINT else "ceph"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # Ceph's tools are scripts of the system's Python


def free_ports(count):
    """Ports below those that the kernel gives to clients, free now."""
    found = []
    first = 20000 + os.getpid() * 37 % 10000
    for port in range(first, first + 2000):
        with contextlib.closing(socket.socket()) as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def is_alive(pid):
    """Running, and no zombie that nobody takes away."""
    with contextlib.suppress(OSError):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return status.split("State:")[1].split()[0] not in "ZX"
    return False


def answers(port, text="GET / HTTP/1.0\r\nHost: x\r\n\r\n"):
    with contextlib.suppress(OSError):
        with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
            link.sendall(text.encode())
            return link.recv(4) == b"HTTP"
    return False


class Server:
    """Daemons in a folder of their own; what is needed to find them again is in state.json."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.pids = []
        self.port = None
        (self.folder / "log").mkdir(parents=True)

    def spawn(self, name, *command):
        with open(self.folder / "log" / f"{name}.out", "wb") as log:
            daemon = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                      stdout=log, stderr=log, start_new_session=True,
                                      env={**os.environ, **self.environment()})
        self.pids.append(daemon.pid)
        return daemon.pid

    def environment(self):
        return {"PATH": PATH}

    def wait_for_port(self, pid, port):
        wait_for(lambda: answers(port) or not is_alive(pid), f"port {port}", 3 * PATIENCE)
        if not is_alive(pid):
            logs = "\n".join(path.read_text(errors="replace")[-2000:]
                             for path in (self.folder / "log").iterdir())
            raise AssertionError(f"the server died\n{logs}")

    def save(self):
        (self.folder / "state.json").write_text(json.dumps(
            {"pids": self.pids, "url": f"http://127.0.0.1:{self.port}"}))


class Ceph(Server):
    """One monitor, one OSD on a sparse file, radosgw; no manager."""

    NEEDS = ("ceph-mon", "ceph-osd", "radosgw", "ceph")

    def environment(self):
        return {"PATH": PATH, "CEPH_CONF": str(self.folder / "ceph.conf")}

    def tool(self, *command):
        return run(*command, env={**os.environ, **self.environment()}, timeout=3 * PATIENCE)

    def configure(self, monitor_port):
        for name in ("mon", "osd", "rgw", "run"):
            (self.folder / name).mkdir()
        (self.folder / "keyring").touch()
        (self.folder / "ceph.conf").write_text(f"""[global]
fsid = {pathlib.Path("/proc/sys/kernel/random/uuid").read_text().strip()}
mon host = [v2:127.0.0.1:{monitor_port}/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
keyring = {self.folder}/keyring
run dir = {self.folder}/run
admin socket = {self.folder}/run/$name.$pid.asok
log file = {self.folder}/log/$name.log
crash dir = {self.folder}/log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
mon data avail warn = 2
mon osd full ratio = 0.97
mon osd backfillfull ratio = 0.96
mon osd nearfull ratio = 0.95
mon cluster log file = {self.folder}/log/cluster.log
# Without authentication the default (secure) makes radosgw hang.
ms mon client mode = crc secure
ms mon service mode = crc secure
ms mon cluster mode = crc secure
[mon.a]
mon data = {self.folder}/mon
[osd]
osd data = {self.folder}/osd
osd objectstore = bluestore
osd class load list = *
osd class default list = *
osd crush update on start = false
osd memory target = 1073741824
bluestore block size = {int(os.environ.get("MEDIAFS_TEST_SERVER_GIB", 8)) << 30}
bluestore block create = true
bluestore fsck on mount = false
[client.rgw]
rgw data = {self.folder}/rgw
rgw enable usage log = false
rgw enable ops log = false
rgw dynamic resharding = false
# TLS ends in front of it.
rgw crypt require ssl = false
rgw frontends = beast endpoint=127.0.0.1:{self.port}
""")

    @classmethod
    def add_user(cls, folder, name):
        """Keys of another user of the server that runs in @folder: he has nothing yet."""
        keys = secrets.token_hex(10).upper(), secrets.token_hex(20)
        run("radosgw-admin", "-n", "client.rgw", "user", "create", f"--uid={name}",
            f"--display-name={name}", f"--access-key={keys[0]}", f"--secret-key={keys[1]}",
            env={**os.environ, "PATH": PATH, "CEPH_CONF": str(folder / "ceph.conf")},
            timeout=3 * PATIENCE)
        return keys

    def start(self):
        self.port, monitor_port = free_ports(2)
        self.configure(monitor_port)
        uuid = pathlib.Path("/proc/sys/kernel/random/uuid").read_text().strip()
        self.tool("monmaptool", "--create", "--clobber", "--addv", "a",
                  f"[v2:127.0.0.1:{monitor_port}]", self.folder / "monmap")
        self.tool("ceph-mon", "--mkfs", "-i", "a", "--monmap", self.folder / "monmap")
        self.spawn("mon", "ceph-mon", "-f", "-i", "a")
        self.tool("ceph", "osd", "new", uuid, "0")
        self.tool("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", uuid)
        self.tool("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost")
        self.spawn("osd", "ceph-osd", "-f", "-i", "0")
        wait_for(lambda: " 1 up" in self.tool("ceph", "osd", "stat").stdout, "the OSD")
        self.tool("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test",
                  "--display-name=test", f"--access-key={ACCESS}", f"--secret-key={SECRET}")
        # A storage class of its own, called as an archive's: what lies in it can be read.
        for what in ("zonegroup", "zone"):
            self.tool("radosgw-admin", "-n", "client.rgw", what, "placement", "add",
                      "--placement-id=default-placement", "--storage-class=GLACIER",
                      *(["--data-pool=default.rgw.glacier.data"] if what == "zone" else []))
        gateway = self.spawn("rgw", "radosgw", "-f", "-n", "client.rgw")
        self.wait_for_port(gateway, self.port)


class Swift(Server):
    """One replica, tempauth, s3api: no conditions on PUT, a region that must be right."""

    NEEDS = ("swift-proxy-server", "swift-object-server", "memcached")
    PIPELINE = ("catch_errors gatekeeper cache listing_formats s3api tempauth copy bulk slo dlo "
                "symlink proxy-server")

    # As swift-ring-builder does it, in one process instead of nine.
    RINGS = """
import sys
from swift.common.ring import RingBuilder
for kind, port in zip(("account", "container", "object"), sys.argv[1:]):
    builder = RingBuilder(4, 1, 1)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port),
                     "device": "disk", "weight": 1.0})
    builder.rebalance()
    builder.get_ring().save(f"{kind}.ring.gz")
"""

    def configure(self, ports):
        (self.folder / "node/disk").mkdir(parents=True)
        (self.folder / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_suffix = a\nswift_hash_path_prefix = b\n")
        run("/usr/bin/python3", "-c", self.RINGS, *ports[:3], cwd=self.folder,
            timeout=3 * PATIENCE)
        for kind, port in zip(("account", "container", "object"), ports):
            (self.folder / f"{kind}.conf").write_text(f"""[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = root
swift_dir = {self.folder}
devices = {self.folder}/node
mount_check = false
fallocate_reserve = 0
log_level = WARNING
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
""")
        filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in
                          ("catch_errors", "gatekeeper", "listing_formats", "copy", "bulk", "slo",
                           "dlo", "symlink"))
        (self.folder / "proxy.conf").write_text(f"""[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {self.port}
workers = 0
user = root
swift_dir = {self.folder}
log_level = WARNING
[pipeline:main]
pipeline = {self.PIPELINE}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
{filters}[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{ports[3]}
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
check_bucket_owner = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_{ACCESS} = {SECRET} .admin
""")

    def start(self):
        self.port, *ports = free_ports(5)
        self.configure(ports)
        self.spawn("memcached", "memcached", "-u", "root", "-l", "127.0.0.1", "-p", ports[3],
                   "-m", "64", "-U", "0")
        for kind in ("account", "container", "object"):
            self.spawn(kind, f"swift-{kind}-server", self.folder / f"{kind}.conf")
        proxy = self.spawn("proxy", "swift-proxy-server", self.folder / "proxy.conf")
        self.wait_for_port(proxy, self.port)
        for port in ports[:3]:
            wait_for(lambda port=port: answers(port), f"port {port}")


KINDS = {"ceph": Ceph, "swift": Swift}


def stop(folder):
    """End what state.json names, and only that."""
    with contextlib.suppress(OSError, ValueError):
        pids = json.loads((folder / "state.json").read_text())["pids"]
        for pid in reversed(pids):
            # Each is the leader of a session of its own.
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        for pid in pids:
            wait_for(lambda pid=pid: not is_alive(pid), f"the end of {pid}")
    shutil.rmtree(folder, ignore_errors=True)


def access_key(kind):
    return f"test:{ACCESS}" if kind == "swift" else ACCESS


def folder_of(kind, base):
    return base / f"s3-{kind}"


@contextlib.contextmanager
def shared(kind, base):
    """The URL of a server that is shared below @base; None: its packages are not there."""
    if kind == "given":
        yield ENDPOINT
        return
    if any(not shutil.which(name, path=PATH) for name in KINDS[kind].NEEDS):
        yield None
        return
    folder, users = folder_of(kind, base), base / f"s3-{kind}.users"
    with open(base / f"s3-{kind}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        count = int(users.read_text()) if users.exists() else 0
        if count == 0:
            server = KINDS[kind](folder)
            try:
                server.start()
            finally:
                server.save()
        users.write_text(str(count + 1))
        fcntl.flock(lock, fcntl.LOCK_UN)
        try:
            yield json.loads((folder / "state.json").read_text())["url"]
        finally:
            fcntl.flock(lock, fcntl.LOCK_EX)
            count = int(users.read_text()) - 1
            users.write_text(str(count))
            if count == 0:
                stop(folder)
