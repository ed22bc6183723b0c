"""Many small files: made, listed, asked for; the mount and the check of a volume full of them."""
import json
import os
import pathlib
import shutil

from ground import HOUR, forget, in_turns, run, seconds
from lib import FSCK, MEDIAFS, flip, fsck

# The fastest passthrough example that Debian ships the source of.
PASSTHROUGH = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"


def create(top, count):
    for number in range(count):
        if number % 1000 == 0:
            os.makedirs(top / str(number // 1000))
        with open(top / f"{number // 1000}/{number}.dpx", "wb") as out:
            out.write(b"frame" * 800)


def stat(top, count):
    found = 0
    for folder, _, names in os.walk(top):
        for name in names:
            os.stat(os.path.join(folder, name))
        found += len(names)
    assert found == count, f"{found} files found of {count}"


def listing(top, count):
    found = run("ls", "-R", top, timeout=HOUR).stdout.count(".dpx\n")
    assert found == count, f"{found} files listed of {count}"


def measure_small(ground):
    program = ground.folder / "passthrough_ll"
    run("gcc", "-O2", "-o", program, PASSTHROUGH,
        *run("pkg-config", "--cflags", "--libs", "fuse3").stdout.split())
    point, source = ground.folder / "ll.mnt", ground.folder / "ll.tree"
    source.mkdir()
    site = ground.site().mount()
    ground.mount(point, program, "-f", "-o", f"source={source},cache=always", point)

    def rate(work, top):
        ground.drop_caches("ls")
        took = seconds(lambda: work(top, ground.files))
        site.wait(state="verified", timeout=HOUR)  # not while the other side works
        return ground.files / took
    for number in ground.rounds:
        for key, work in (("create", create), ("list", listing), ("stat", stat)):
            ground.note(f"small {key}", *in_turns(
                number, lambda: rate(work, site.mnt / f"r{number}"),
                lambda: rate(work, point / f"r{number}")))
    ground.unmount_others()
    shutil.rmtree(source)
    ground.drop(site)


def resident(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


def measure_mount(ground):
    site = ground.site().mount()
    ground.many_files(site)
    for _ in ground.rounds:
        site.umount()
        ground.drop_caches(MEDIAFS)
        seen = []
        ground.note("mount", seconds(lambda: seen.extend(os.listdir(site.mount().mnt))))
        assert "0" in seen, f"the volume holds {seen}"
        run("find", site.mnt, "-type", "f", "-size", "+1k", timeout=HOUR)
        ground.note("mount memory", resident(site.daemon.pid) / 1e6)
    ground.drop(site)


def quick(ground, site):
    def check():
        ground.drop_caches(FSCK)
        return seconds(lambda: run(FSCK, "-n", site.store, timeout=HOUR))

    def find():
        ground.drop_caches("find")
        return seconds(lambda: run("find", site.tree, "-printf", "%i %s %T@ %p\n", timeout=HOUR))
    for number in ground.rounds:
        ground.note("fsck quick", *in_turns(number, check, find))
    run("truncate", "-s", "+1", site.tree / "0/0.dpx")
    assert fsck("-n", site.store, timeout=HOUR).returncode & 4, "fsck looks at nothing"


def full(ground, site):
    files = []
    for number in range(4):
        clip = ground.clip(f"{number}.mov", ground.size // 4)
        run("cp", clip, site.mnt)
        clip.unlink()
        files.append(site.tree / clip.name)
    site.wait(state="verified", timeout=HOUR)
    site.umount()
    size = sum(file.stat().st_size for file in files)

    def check():
        forget(*files)
        return size / seconds(lambda: run(FSCK, "-n", "--full", site.store, timeout=HOUR)) / 1e6

    def disk():
        forget(*files)
        out = json.loads(run(
            "fio", "--name=read", "--readonly", "--rw=read", "--bs=1M", "--direct=1",
            "--iodepth=8", "--ioengine=libaio", f"--filename={':'.join(map(str, files))}",
            "--file_service_type=sequential", f"--size={size}", "--output-format=json",
            timeout=HOUR).stdout)["jobs"][0]["read"]
        assert out["io_bytes"] == size, f"fio read {out['io_bytes']} of {size} bytes"
        return out["bw_bytes"] / 1e6  # its own start takes longer than ours
    for number in ground.rounds:
        ground.note("fsck full", *in_turns(number, check, disk))
    flip(files[0], 4097)
    assert fsck("-n", "--full", site.store, timeout=HOUR).returncode & 4, "fsck reads nothing"


def measure_fsck(ground):
    site = ground.site("many").mount()
    ground.many_files(site)
    site.umount()
    quick(ground, site)
    ground.drop(site)
    site = ground.site("large").mount()
    full(ground, site)
    ground.drop(site)
