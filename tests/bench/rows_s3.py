"""Up to and down from an S3 server on loopback: rate, CPU, what is sent twice after kill -9."""
import contextlib
import os
import random
import shutil
import subprocess
import uuid

import s3_servers
from gate import Gate

from ground import HOUR, cpu_of, cpu_of_children, forget, in_turns, read, run, seconds, wait_for

# The server's disk is small, and what is overwritten there stays for hours.
MAX_SIZE = 256 << 20
PIECES = 16  # of a MiB each, read here and there


class Bucket:
    """A bucket of Ceph's gateway, used by us and by rclone (the remote "bench")."""

    def __init__(self, ground, url):
        self.port = int(url.rsplit(":", 1)[1])
        self.name = f"bench-{uuid.uuid4().hex[:16]}"
        self.keys = ground.folder / "s3.keys"
        self.keys.touch(0o600)
        self.keys.write_text(f"aws_access_key_id = {s3_servers.ACCESS}\n"
                             f"aws_secret_access_key = {s3_servers.SECRET}\n")
        self.passwords = ground.folder / "s3fs.keys"
        self.passwords.touch(0o600)
        self.passwords.write_text(f"{s3_servers.ACCESS}:{s3_servers.SECRET}\n")
        run("rclone", "mkdir", f"bench:{self.name}", env=self.rclone_env())
        # What a server makes when it first gets an object in parts takes seconds.
        first = ground.clip("first", 12 << 20)
        self.rclone_put(first, "first", "--s3-upload-cutoff=5M")
        first.unlink()

    def url(self, folder, host="127.0.0.1", port=None):
        return (f"s3://{self.name}/{folder}?endpoint=http://{host}:{port or self.port}"
                f"&credentials={self.keys}")

    def rclone_env(self, host="127.0.0.1", port=None):
        # A person's settings for S3 are for other servers.
        clean = {key: value for key, value in os.environ.items()
                 if not key.startswith(("AWS_", "RCLONE_"))}
        return {**clean, "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_BENCH_TYPE": "s3",
                "RCLONE_CONFIG_BENCH_PROVIDER": "Ceph",
                "RCLONE_CONFIG_BENCH_ENDPOINT": f"http://{host}:{port or self.port}",
                "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": s3_servers.ACCESS,
                "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": s3_servers.SECRET}

    def aws_put(self, path, name):
        # Not any other "aws" that the PATH may have.
        run("/usr/bin/aws", "s3", "cp", "--only-show-errors", "--endpoint-url",
            f"http://127.0.0.1:{self.port}", path, f"s3://{self.name}/aws/{name}", timeout=HOUR,
            env={"PATH": "/usr/bin:/bin", "AWS_CONFIG_FILE": "/dev/null",
                 "AWS_ACCESS_KEY_ID": s3_servers.ACCESS, "AWS_DEFAULT_REGION": "us-east-1",
                 "AWS_SECRET_ACCESS_KEY": s3_servers.SECRET})

    def rclone_put(self, path, name, *options, **where):
        run("rclone", "copyto", *options, path, f"bench:{self.name}/rclone/{name}",
            env=self.rclone_env(**where), timeout=HOUR)


@contextlib.contextmanager
def bucket_of(ground):
    """The run's server is started by the first topic that wants it, and stopped at the end."""
    if not ground.bucket:
        server = ground.at_end.enter_context(s3_servers.shared("ceph", ground.servers))
        assert server, "Ceph's packages are not there"
        ground.bucket = Bucket(ground, server)
    yield ground.bucket


def send(site, name):
    """Send what was put in while sending was paused: seconds and CPU seconds of the daemon."""
    site.wait(name, "verified", timeout=HOUR)
    assert site.status()["moving"]["paused"], "it was sent before anybody looked at the clock"
    cpu = cpu_of(site.daemon.pid)

    def work():
        site.cmd("resume")
        site.wait_state(name, "stored", timeout=HOUR)
    return seconds(work), cpu_of(site.daemon.pid) - cpu


def measure_upload(ground):
    size = min(ground.size, MAX_SIZE)
    with bucket_of(ground) as bucket:
        site = ground.site(tier=bucket.url("upload")).mount()
        for number in ground.rounds:
            clip = ground.clip(f"up-{number}.mov", size)  # bytes that the bucket does not know
            run("cp", clip, ground.native)

            def ours():
                site.cmd("pause")
                run("cp", clip, site.mnt)
                return send(site, clip.name)

            def theirs(put):
                cpu = cpu_of_children()
                took = seconds(lambda: put(ground.native / clip.name, clip.name))
                return took, cpu_of_children() - cpu
            (took, cpu), *others = in_turns(number, ours, lambda: theirs(bucket.rclone_put),
                                            lambda: theirs(bucket.aws_put))
            for key, (their_took, their_cpu) in zip(("upload", "upload aws"), others):
                ground.note(key, size / took / 1e6, size / their_took / 1e6)
                ground.note(f"{key} cpu", cpu, their_cpu)
            clip.unlink()
        ground.drop(site)


class Download:
    """The very object that a cart of ours has put there, read by three mounts when it is not here."""

    def __init__(self, ground, bucket, prefix, size, enter=contextlib.nullcontext, **where):
        """@prefix: no other row's; @enter: where the mounts are made; @where: the server's host and
        port as seen there."""
        self.ground, self.bucket, self.prefix = ground, bucket, prefix
        self.enter, self.where = enter, where
        with enter():
            self.site = ground.site(tier=bucket.url(prefix, **where)).mount()
        self.clip = ground.clip(size=size)
        run("cp", self.clip, self.site.mnt)
        self.site.wait(timeout=HOUR)

    @contextlib.contextmanager
    def evicted(self):
        path = self.site.mnt / self.clip.name
        self.site.cmd("evict", path)
        assert self.site.state(self.clip.name) == "evicted", "the file is still here"
        yield path, self.site.daemon.pid

    @contextlib.contextmanager
    def mounted(self, path, program, *words, env=None):
        """A daemon and a cache that nobody has used yet."""
        point, cache = self.ground.folder / f"{program}.mnt", self.ground.folder / "cache"
        words = [str(word).replace("CACHE", str(cache)).replace("POINT", str(point))
                 for word in words]
        with self.enter():
            pid = self.ground.mount(point, program, *words, env=env)
        try:
            yield point / path / self.clip.name, pid
        finally:
            self.ground.unmount_others()
            shutil.rmtree(cache, ignore_errors=True)

    def rclone(self):
        return self.mounted("", "rclone", "mount", "--read-only", "--vfs-cache-mode", "full",
                            "--cache-dir", "CACHE", f"bench:{self.bucket.name}/{self.prefix}", "POINT",
                            env=self.bucket.rclone_env(**self.where))

    def s3fs(self):
        return self.mounted(self.prefix, "s3fs", self.bucket.name, "POINT", "-f", "-o",
                            f"url=http://127.0.0.1:{self.bucket.port},use_path_request_style,ro,"
                            f"passwd_file={self.bucket.passwords}")

    def timed(self, cold, work):
        """Seconds, CPU seconds of the daemon."""
        with cold() as (path, pid):
            path.stat()  # each has a connection by now
            forget(path)
            cpu = cpu_of(pid)
            took = seconds(lambda: work(path))
            return took, cpu_of(pid) - cpu


def read_pieces(path, numbers):
    """Some MiB of a file, the numbers say which."""
    handle = os.open(path, os.O_RDONLY)
    try:
        for number in numbers:
            assert len(os.pread(handle, 1 << 20, number << 20)) == 1 << 20
    finally:
        os.close(handle)


def measure_download(ground):
    size = min(ground.size, MAX_SIZE)
    with bucket_of(ground) as bucket:
        down = Download(ground, bucket, "download", size)
        for cold in (down.rclone, down.s3fs):
            with cold() as (path, _):
                run("cmp", down.clip, path, timeout=HOUR)
        # Not where the head and the end are that an evicted file keeps here.
        inner = range(8, (size >> 20) - 4)
        for number in ground.rounds:
            chance = random.Random(number)
            pieces = chance.sample(inner, PIECES)
            works = {"download": (read, size),
                     "download random": (lambda path: read_pieces(path, pieces), PIECES << 20)}
            for key, (work, length) in works.items():
                (took, cpu), *others = in_turns(number, *(
                    lambda cold=cold: down.timed(cold, work)
                    for cold in (down.evicted, down.rclone, down.s3fs)))
                for row, (their_took, their_cpu) in zip((key, f"{key} s3fs"), others):
                    ground.note(row, length / took / 1e6, length / their_took / 1e6)
                    ground.note(f"{row} cpu", cpu, their_cpu)
            ours, *others = in_turns(number, *(
                lambda cold=cold: down.timed(cold, lambda path: read_pieces(path, pieces[:1]))[0]
                for cold in (down.evicted, down.rclone, down.s3fs)))
            for row, theirs in zip(("download first", "download first s3fs"), others):
                ground.note(row, ours, theirs)
        ground.drop(down.site)


def sent_again(gate, size, start, kill, again):
    """Bytes that go through the gate beyond the file's, when its sender is killed half way."""
    before = gate.sent
    gate.hold(size // 2)
    start()
    wait_for(lambda: gate.sent >= gate.hold_at - (1 << 16), "half of the upload", HOUR)
    kill()
    gate.cut()
    gate.release()
    again()
    return (gate.sent - before - size) / 1e6


def measure_resent(ground):
    size = min(ground.size, MAX_SIZE)
    with bucket_of(ground) as bucket, contextlib.closing(Gate(bucket.port)) as gate:
        site = ground.site(tier=bucket.url("resent", port=gate.port)).mount()
        env = bucket.rclone_env(port=gate.port)
        for number in ground.rounds:
            clip = ground.clip(f"again-{number}.mov", size)
            command = ["rclone", "copyto", clip, f"bench:{bucket.name}/rclone/{clip.name}"]

            def again():
                site.mount()
                site.wait(clip.name, timeout=HOUR)

            def ours():
                return sent_again(gate, size, lambda: run("cp", clip, site.mnt), site.kill, again)

            def theirs():
                sender = []

                def kill():
                    sender[0].kill()
                    sender[0].wait()
                return sent_again(
                    gate, size, lambda: sender.append(subprocess.Popen(command, env=env)), kill,
                    lambda: run(*command, env=env, timeout=HOUR))
            ground.note("resent", *in_turns(number, ours, theirs))
            clip.unlink()
        ground.drop(site)
