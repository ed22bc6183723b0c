"""A roll into one tar, and out of it again."""
import shutil

from ground import HOUR, in_turns, run, seconds
from lib import mediafs

CLIPS = 4


def measure_archive(ground):
    site = ground.site(settings={"manifest.kind": "none"}).mount()
    roll, archive = site.mnt / "roll", ground.native / "ours.tar"
    roll.mkdir()
    for number in range(CLIPS):
        clip = ground.clip("noise", ground.size // CLIPS)
        shutil.copyfile(clip, roll / f"C{number}.mov")
        clip.unlink()
    site.wait(state="verified", timeout=HOUR)

    def export():
        mediafs("export", roll, "--to", archive, timeout=HOUR)

    def tar():
        theirs = ground.native / "theirs.tar"
        run("tar", "-b", "1024", "-C", site.mnt, "-cf", theirs, roll.name, timeout=HOUR)
        run("sync", theirs)

    def unpack():
        target = ground.native / "out"
        target.mkdir()
        run("bsdtar", "-xf", archive, "-C", target, timeout=HOUR)
        run("sync", "-f", target)

    def timed(work, *leftovers):
        ground.sync()
        took = seconds(work)
        for path in leftovers:
            if path.is_dir():
                assert sum(file.stat().st_size for file in path.rglob("*.mov")) == \
                    ground.size // CLIPS * CLIPS
                shutil.rmtree(path)
            else:
                assert path.stat().st_size > ground.size // CLIPS * CLIPS
                path.unlink()
        return took
    for number in ground.rounds:
        ground.note("archive export", *in_turns(
            number, lambda: timed(export, archive),
            lambda: timed(tar, ground.native / "theirs.tar")))
    export()
    for number in ground.rounds:
        ground.note("archive import", *in_turns(
            number, lambda: timed(lambda: mediafs("import", archive, site.mnt / "in", timeout=HOUR),
                                  site.mnt / "in"),
            lambda: timed(unpack, ground.native / "out")))
    archive.unlink()
    ground.drop(site)
