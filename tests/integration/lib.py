"""What the integration tests share: stores, mounts, commands, waiting.

Everything is private to a test's folder; what is mounted gets unmounted, and only
processes started here are ended (by pid).
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

BUILD = pathlib.Path(os.environ.get("MEDIAFS_BUILD", "build")).resolve()
CARD_RULES = BUILD / "src/card/cards"
os.environ.setdefault("MEDIAFS_CARDS", str(CARD_RULES))  # for copies of programs too
MEDIAFS = BUILD / "src/cli/mediafs"
# Sanitizers make a start several times as long. Where a plain build was tested before, commands
# that do no more than ask the daemon come from there, but in the tests that are about them.
PLAIN = pathlib.Path(os.environ.get("MEDIAFS_PLAIN_BUILD", BUILD)).resolve() / "src/cli/mediafs"
if not PLAIN.exists():
    PLAIN = MEDIAFS
ASKING = {"config", "evict", "fetch", "init", "log", "ls", "offloads", "pause", "pin", "resume",
          "seal", "status", "umount", "unpin", "wait"}
FSCK = BUILD / "src/cli/mediafs-fsck"
BLOCK = 4 << 20
# Sanitizers and a busy machine make everything slower, never different.
PATIENCE = float(os.environ.get("MEDIAFS_TEST_PATIENCE", "60"))


def has_sanitizer():
    return "san.so" in run("ldd", MEDIAFS).stdout


def sandboxed_child(program):
    """The process id of the reader that @program has started, once it is in its sandbox."""
    def child():
        children = pathlib.Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text(
            encoding="ascii").split()
        if not children:
            return None
        status = pathlib.Path(f"/proc/{children[0]}/status").read_text(encoding="ascii")
        return int(children[0]) if "Seccomp:\t2" in status else None
    pid = wait_for(child, "the reader in its sandbox")
    assert len(os.listdir(f"/proc/{pid}/fd")) == 2
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    assert "Max open files            0 " in limits
    space = limits.split("Max address space")[1].split()[0]
    assert space == ("unlimited" if has_sanitizer() else str(2 << 30)), limits
    return pid


def count_open(pid, word):
    """How many files with such a name a program has open; none when it has ended."""
    names = []
    with contextlib.suppress(FileNotFoundError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return sum(word in name for name in names)


def wait_for(condition, what="a state", timeout=None):
    """Return condition()'s first true value; fail after the timeout."""
    deadline = time.monotonic() + (timeout or PATIENCE)
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        pause.wait(0.02)


def run(*command, check=True, timeout=None, **options):
    """Run a command; its output is kept, and shown when it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          errors="surrogateescape", check=False, timeout=timeout or 5 * PATIENCE,
                          **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} gave {done.returncode}\n"
                             f"{done.stdout}\n{done.stderr}")
    return done


def mediafs(*args, **options):
    is_about_them = "test_cli.py" in os.environ.get("PYTEST_CURRENT_TEST", "")
    asks = ASKING.intersection(map(str, args[:1])) and not is_about_them
    return run(PLAIN if asks else MEDIAFS, *args, **options)


def fsck(*args, **options):
    """mediafs-fsck; never fails by itself: look at .returncode."""
    return run(FSCK, *args, check=False, **options)


def is_mounted(path):
    path = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        return any(line.split()[4].encode().decode("unicode_escape") == str(path)
                   for line in lines)


def flip(path, offset, bit=0):
    """Flip one bit of a file on the disk itself, without leaving traces in its times."""
    before = os.stat(path)
    handle = os.open(path, os.O_RDWR)
    try:
        byte = os.pread(handle, 1, offset)
        os.pwrite(handle, bytes([byte[0] ^ (1 << bit)]), offset)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.utime(handle, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(handle)


def pattern(size, seed=1):
    """Bytes that repeat nowhere near: cheap, and every block differs."""
    unit = bytearray(os.urandom(1 << 16))
    out = bytearray()
    count = 0
    while len(out) < size:
        unit[0:16] = (seed << 64 | count).to_bytes(16, "big")
        out += unit
        count += 1
    return bytes(out[:size])


def url(tier):
    """A tier is named by its URL, or is a folder."""
    return str(tier) if "://" in str(tier) else f"file://{tier}"


class Callers:
    """Threads that use a mount until it dies under them: @threads, told to stop by @ended."""

    def start(self):
        for thread in self.threads:
            thread.start()

    def join(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a caller of a dead mount never came back"


def with_setting(text, key, value):
    """mediafs.conf with SECTION.KEY = VALUE, where it was not set before."""
    section, _, name = key.rpartition(".") if key.startswith("tier.") else key.partition(".")
    header = f"[{section.replace('.', ' ')}]"
    before, found, after = f"\n{text}".partition(f"\n{header}\n")
    return f"{before[1:]}\n{header}\n{name} = {value}\n{after if found else ''}"


class Site:
    """One store, its mount point, its daemon."""

    def __init__(self, folder, name="cart", tier=None, join=None, settings=None, options=()):
        self.name = name
        self.store = pathlib.Path(folder) / f"{name}.store"
        self.mnt = pathlib.Path(folder) / f"{name}.mnt"
        self.tree = self.store / "tree"
        self.daemon = None
        self.log = pathlib.Path(folder) / f"{name}.log"
        self.options = list(options)
        self.mnt.mkdir(exist_ok=True)
        command = ["init", self.store, "--site", name]
        if tier:
            command += ["--tier", url(tier)]
        if join:
            command += ["--join", url(join)]
        mediafs(*command)
        # Quick by default: tests wait for states, not for pauses meant for people. How full the
        # disk is on which they run is none of their business.
        conf = self.store / "mediafs.conf"
        text = conf.read_text()
        for key, value in {"ingest.settle": "0", "sync.poll": "100ms", "sync.flush": "50ms",
                           "space.reserve": "0%", "space.evict_above": "0%",
                           "transfer.overwrite_wait": "0",
                           **(settings or {})}.items():
            text = with_setting(text, key, value) if value else text
        # Not by the command, for each: to start it takes most of what the machine can do.
        conf.write_text(text)

    def mount(self, *options, check=True, env=None):
        """Start the daemon in the foreground and wait until its mount answers."""
        command = [str(MEDIAFS), "mount", "-f", str(self.store), str(self.mnt)]
        options = [*self.options, *options]
        if options:
            command += ["-o", ",".join(options)]
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log, env={**os.environ, **(env or {})})
        wait_for(lambda: is_mounted(self.mnt) or self.daemon.poll() is not None, "the mount")
        if self.daemon.poll() is not None and check:
            raise AssertionError(f"mount gave {self.daemon.returncode}\n{self.log_text()}")
        return self

    def umount(self):
        """Unmount as a person does; the daemon must end by itself, with 0."""
        if not self.daemon:
            return
        mediafs("umount", self.mnt)
        code = self.daemon.wait(PATIENCE)
        self.daemon = None
        assert code == 0, f"the daemon gave {code}\n{self.log_text()}"

    def kill(self):
        """As a power cut of the daemon: kill -9, and clear the dead mount point."""
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait(PATIENCE)
        self.daemon = None
        run("umount", "-l", self.mnt, check=False)

    def threads(self, name):
        """How many of the daemon's are called so."""
        count = 0
        for task in pathlib.Path(f"/proc/{self.daemon.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                count += (task / "comm").read_text() == name + "\n"
        return count

    def close(self):
        """Whatever happened: nothing mounted, nothing running."""
        if self.daemon:
            run("umount", self.mnt, check=False)
            try:
                self.daemon.wait(PATIENCE / 4)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon = None
        if is_mounted(self.mnt):
            run("umount", "-l", self.mnt, check=False)

    def log_text(self):
        return self.log.read_text(errors="replace")[-20000:]

    def cmd(self, *args, **options):
        return mediafs(*args, "--store", self.store, **options)

    def wait(self, path="", state="stored", timeout=None, check=True):
        return self.cmd("wait", self.mnt / path, "--for", state,
                        "--timeout", f"{timeout or PATIENCE}s", check=check,
                        timeout=(timeout or PATIENCE) + 30)

    def status(self):
        """What `mediafs status --json` gives, asked in its place as long as there is a daemon."""
        folder = os.open(self.store / "run", os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(PATIENCE)
                link.connect(f"/proc/self/fd/{folder}/control")
                link.sendall(b'{"request": "status", "path": ""}\n')
                with link.makefile("rb") as lines:
                    answer = json.loads(lines.readline())
        except (OSError, ValueError):
            return json.loads(self.cmd("status", "--json").stdout)
        finally:
            os.close(folder)
        assert answer.get("done") and not answer["code"], answer
        return answer

    def state(self, path):
        """State of one file, from its xattr."""
        return os.getxattr(self.mnt / path, "user.mediafs.state").decode()

    def wait_state(self, path, state, timeout=None):
        def reached():
            with contextlib.suppress(OSError):
                return self.state(path) == state
            return False
        wait_for(reached, f"{path} to be {state}", timeout)

    def events(self, *args):
        out = self.cmd("log", "--json", *args).stdout
        return [json.loads(line) for line in out.splitlines() if line.strip()]

    def set(self, key, value):
        return self.cmd("config", "set", key, value)


def same_bytes(left, right):
    """Assert it; a program for each of thousands of files would take longer than to read them."""
    with open(left, "rb") as ours, open(right, "rb") as theirs:
        while True:
            piece = ours.read(1 << 20)
            assert piece == theirs.read(1 << 20), f"{left} and {right} differ"
            if not piece:
                return


def same_tree(left, right):
    """Assert: same names, kinds, bytes, modes and times to the nanosecond."""
    def walk(top):
        top = pathlib.Path(top)
        found = {}
        for path in sorted(top.rglob("*")):
            info = path.lstat()
            kind = info.st_mode >> 12
            found[str(path.relative_to(top))] = (
                info.st_mode, info.st_size if kind == 8 else 0,
                info.st_mtime_ns if kind == 8 else 0,
                os.readlink(path) if kind == 10 else "")
        return found
    first, second = walk(left), walk(right)
    differ = {name: (first.get(name), second.get(name))
              for name in {*first, *second} if first.get(name) != second.get(name)}
    assert not differ, f"{len(differ)} differ, such as {list(differ.items())[:4]}"
    for name, info in first.items():
        if info[0] >> 12 == 8:
            same_bytes(pathlib.Path(left) / name, pathlib.Path(right) / name)


def loop_image(folder, size, kind="ext4"):
    """A small file system of its own: (mount point, undo)."""
    image, point = pathlib.Path(folder) / f"{kind}.img", pathlib.Path(folder) / f"{kind}.disk"
    point.mkdir(exist_ok=True)
    with open(image, "wb") as out:
        out.truncate(size)
    run(f"mkfs.{kind}", "-q", image)
    run("mount", "-o", "loop", image, point)

    def undo():
        run("umount", "-l", point, check=False)
        with contextlib.suppress(FileNotFoundError):
            image.unlink()
    return point, undo


def tool(name):
    """The path of a program, or None: skip with its name then."""
    return shutil.which(name)
