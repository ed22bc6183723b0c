"""Up to and down from an S3 server on loopback: rate, CPU, what is sent twice after kill -9."""
import contextlib
import os
import subprocess
import uuid

import s3_servers
from gate import Gate

from ground import HOUR, cpu_of, cpu_of_children, forget, in_turns, read, run, seconds, wait_for

# The server's disk is small, and what is overwritten there stays for hours.
MAX_SIZE = 256 << 20


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

            def theirs():
                cpu = cpu_of_children()
                took = seconds(lambda: bucket.rclone_put(ground.native / clip.name, clip.name))
                return took, cpu_of_children() - cpu
            (took, cpu), (their_took, their_cpu) = in_turns(number, ours, theirs)
            ground.note("upload", size / took / 1e6, size / their_took / 1e6)
            ground.note("upload cpu", cpu, their_cpu)
            clip.unlink()
        ground.drop(site)


def measure_download(ground):
    size = min(ground.size, MAX_SIZE)
    with bucket_of(ground) as bucket:
        site = ground.site(tier=bucket.url("download")).mount()
        clip = ground.clip(size=size)
        run("cp", clip, site.mnt)
        site.wait(timeout=HOUR)
        # All read the very object that we have put there.
        rclone, s3fs = ground.folder / "rclone.mnt", ground.folder / "s3fs.mnt"
        pids = {
            rclone: ground.mount(rclone, "rclone", "mount", "--read-only",
                                 f"bench:{bucket.name}/download", rclone, env=bucket.rclone_env()),
            s3fs: ground.mount(s3fs, "s3fs", bucket.name, s3fs, "-f", "-o",
                               f"url=http://127.0.0.1:{bucket.port},use_path_request_style,ro,"
                               f"passwd_file={bucket.passwords}"),
            site.mnt: site.daemon.pid}
        paths = {rclone: rclone / clip.name, s3fs: s3fs / "download" / clip.name,
                 site.mnt: site.mnt / clip.name}

        def timed(top):
            if top == site.mnt:
                site.cmd("evict", paths[top])
                assert site.state(clip.name) == "evicted", "the file is still here"
            forget(paths[top])
            cpu = cpu_of(pids[top])
            took = seconds(lambda: read(paths[top]))
            return took, cpu_of(pids[top]) - cpu
        for top in (rclone, s3fs):
            run("cmp", clip, paths[top], timeout=HOUR)
        for number in ground.rounds:
            for key, top in (("download", rclone), ("download s3fs", s3fs)):
                (took, cpu), (their_took, their_cpu) = in_turns(
                    number, lambda: timed(site.mnt), lambda top=top: timed(top))
                ground.note(key, size / took / 1e6, size / their_took / 1e6)
                ground.note(f"{key} cpu", cpu, their_cpu)
        ground.unmount_others()
        ground.drop(site)


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
