"""A card: copied in and compared, all of it, beside what people do by hand."""
import contextlib
import os
import shutil

from ground import HOUR, run, seconds
from lib import MEDIAFS, mediafs

CLIPS = 4
SIDECARS = 40


@contextlib.contextmanager
def mounted_card(ground):
    """A file system of its own, in memory: a card and a reader faster than any."""
    image, point = ground.card / "card.img", ground.card / "A001R2EC"
    with open(image, "wb") as out:
        out.truncate(ground.size + ground.size // 8 + (64 << 20))
    run("mkfs.ext4", "-q", "-m", "0", "-L", point.name, image)
    point.mkdir()
    run("mount", "-o", "loop", image, point)
    try:
        clips = point / "CLIPS"
        clips.mkdir()
        for number in range(CLIPS):
            clip = ground.clip("noise", ground.size // CLIPS)
            shutil.copyfile(clip, clips / f"A001C{number:03}_261129_R2EC.mov")
            clip.unlink()
        for number in range(SIDECARS):
            (clips / f"A001C{number:03}_261129_R2EC.xml").write_bytes(os.urandom(3000))
        run("sync", "-f", point)
        yield point
    finally:
        run("umount", point, check=False)
        image.unlink()
        point.rmdir()


def make_cold(*tops):
    """On the disk and not in memory, those files alone: what others write is not waited for."""
    for top in tops:
        for path in top.rglob("*"):
            if path.is_file():
                handle = os.open(path, os.O_RDONLY)
                os.fsync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(handle)


def measure_offload(ground):
    site = ground.site(settings={"manifest.kind": "none"}).mount()
    with mounted_card(ground) as card:
        copy, sums = ground.native / card.name, ground.folder / "sums"

        def offload():
            mediafs("offload", card, site.mnt, timeout=HOUR)

        def by_hand():
            run("cp", "-a", card, ground.native, timeout=HOUR)
            make_cold(card, copy)
            find = f"cd '{card}' && find . -type f -print0 | xargs -0 xxhsum -H2"
            sums.write_text(run("sh", "-c", find, timeout=HOUR).stdout)
            run("xxhsum", "-q", "-c", sums, cwd=copy, timeout=HOUR)

        def rsync():
            run("rsync", "-a", card, ground.native, timeout=HOUR)
            make_cold(card, copy)
            differ = run("rsync", "-anci", f"{card}/", f"{copy}/", timeout=HOUR).stdout
            assert not differ, differ
        works = [offload, by_hand, rsync]
        for number in ground.rounds:
            took = {}
            for turn in range(len(works)):
                work = works[(turn + number) % len(works)]
                ground.sync()
                make_cold(card)
                took[work] = seconds(work)
                top = site.mnt / card.name if work is offload else copy
                assert sum(file.stat().st_size for file in (top / "CLIPS").iterdir()) == \
                    sum(file.stat().st_size for file in (card / "CLIPS").iterdir())
                shutil.rmtree(top)
            ground.note("offload", took[offload], took[by_hand])
            ground.note("offload rsync", took[offload], took[rsync])
    ground.drop(site)
