"""A card: copied in and compared, all of it, beside what people do by hand."""
import contextlib
import os
import pathlib
import shutil

from ground import HOUR, in_turns, run, seconds
from lib import MEDIAFS, mediafs

CLIPS = 4
SIDECARS = 40
# Of the first version of control groups. The second has nothing like it for all processes.
THROTTLE = pathlib.Path("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device")


def limit_reading(point, rate):
    """What lies there is read with so many bytes a second at most, by everybody; 0: no limit."""
    if THROTTLE.exists():
        device = run("findmnt", "-no", "MAJ:MIN", point).stdout.strip()
        THROTTLE.write_text(f"{device} {rate}\n", encoding="ascii")
    elif rate:
        print("  no blkio controller here: the card is as fast as memory", flush=True)


@contextlib.contextmanager
def mounted_card(ground, room):
    """A file system of its own, in memory, behind a reader of some rate."""
    image, point = ground.card / "card.img", ground.card / "A001R2EC"
    with open(image, "wb") as out:
        out.truncate(room)
    run("mkfs.ext4", "-q", "-m", "0", "-L", point.name, image)
    point.mkdir()
    run("mount", "-o", "loop", image, point)
    try:
        limit_reading(point, ground.reader * 1000000)
        yield point
    finally:
        limit_reading(point, 0)  # a device of that number may be made again
        run("umount", point, check=False)
        image.unlink()
        point.rmdir()


def fill_with_clips(ground, card):
    clips = card / "CLIPS"
    clips.mkdir()
    for number in range(CLIPS):
        clip = ground.clip("noise", ground.size // CLIPS)
        shutil.copyfile(clip, clips / f"A001C{number:03}_261129_R2EC.mov")
        clip.unlink()
    for number in range(SIDECARS):
        (clips / f"A001C{number:03}_261129_R2EC.xml").write_bytes(os.urandom(3000))
    run("sync", "-f", card)


def fill_with_frames(ground, card):
    """Small ones, as of proxies and stills: 4 to 64 KiB."""
    for number in range(ground.files):
        folder = card / f"A001C{number // 1000:03}_261129_R2EC"
        folder.mkdir(exist_ok=True)
        size = 4096 + number * 7919 % 61441
        (folder / f"A001C{number // 1000:03}.{number:07}.dpx").write_bytes(os.urandom(size))
    run("sync", "-f", card)


def make_cold(*tops, whole=False):
    """On the disk and not in memory.

    Those files alone: what others write is not waited for. Of small files that would cost those
    who copy by hand more than what they do, the whole file system at once.
    """
    for top in tops:
        if whole:
            run("sync", "-f", top)
        for path in top.rglob("*"):
            if path.is_file():
                handle = os.open(path, os.O_RDONLY)
                if not whole:
                    os.fsync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(handle)


def sums_of(top):
    find = f"cd '{top}' && find . -type f -print0 | xargs -0 xxhsum -H2"
    return run("sh", "-c", find, timeout=HOUR).stdout.splitlines()


def in_all(top):
    return sum(path.stat().st_size for path in top.rglob("*") if path.is_file())


def compare_offload(ground, site, card, key, whole=False):
    """Of `mediafs offload`, and of what people do instead; what each of them made is removed."""
    copy, sums = ground.native / card.name, ground.folder / "sums"

    def offload():
        mediafs("offload", card, site.mnt, timeout=HOUR)

    def by_hand():
        run("cp", "-a", card, ground.native, timeout=HOUR)
        make_cold(card, copy, whole=whole)
        sums.write_text("\n".join(sums_of(card)) + "\n")
        run("xxhsum", "-q", "-c", sums, cwd=copy, timeout=HOUR)

    def rsync():
        run("rsync", "-a", card, ground.native, timeout=HOUR)
        make_cold(card, copy, whole=whole)
        differ = run("rsync", "-anci", f"{card}/", f"{copy}/", timeout=HOUR).stdout
        assert not differ, differ

    def timed(work):
        ground.sync()
        make_cold(card, whole=whole)
        took = seconds(work)
        top = site.mnt / card.name if work is offload else copy
        assert in_all(top) == in_all(card)
        shutil.rmtree(top)
        return took
    for number in ground.rounds:
        ours, *theirs = in_turns(number, lambda: timed(offload), lambda: timed(by_hand),
                                 lambda: timed(rsync))
        for row, took in zip((key, f"{key} rsync"), theirs):
            ground.note(row, ours, took)


def compare_safe(ground, site, card, key):
    """Of `mediafs safe` of a card in the store alone, and of the digests of both."""
    mediafs("offload", card, site.mnt, timeout=HOUR)
    copy = site.tree / card.name

    def safe():
        mediafs("safe", "--store", site.store, card, timeout=HOUR)

    def by_hand():
        assert sorted(sums_of(card)) == sorted(sums_of(copy))

    def timed(work):
        ground.sync()
        make_cold(card, copy, whole=True)
        return seconds(work)
    for number in ground.rounds:
        ground.note(key, *in_turns(number, lambda: timed(safe), lambda: timed(by_hand)))


def measure_offload(ground):
    site = ground.site(settings={"manifest.kind": "none"}).mount()
    with mounted_card(ground, ground.size + ground.size // 8 + (64 << 20)) as card:
        fill_with_clips(ground, card)
        compare_offload(ground, site, card, "offload")
    ground.drop(site)


def measure_frames(ground):
    site = ground.site(settings={"manifest.kind": "none", "safe.copies": "1", "safe.offsite": "0",
                                 "safe.distinct_devices": "no"}).mount()
    with mounted_card(ground, ground.files * (48 << 10) + (64 << 20)) as card:
        fill_with_frames(ground, card)
        compare_offload(ground, site, card, "frames", whole=True)
        compare_safe(ground, site, card, "frames safe")
    ground.drop(site)
