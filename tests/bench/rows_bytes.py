"""Large files on the local disk: copied, verified, read."""
from ground import HOUR, forget, in_turns, read, run, seconds


def copy_in_turns(ground, ours, theirs, site):
    """Seconds of both, each with a clean disk before and its copy removed after."""
    def timed(work, copy):
        ground.sync()
        took = seconds(work)
        if copy.parent == site.mnt:
            site.wait(state="verified", timeout=HOUR)
        copy.unlink()
        return took
    for number in ground.rounds:
        yield in_turns(number, lambda: timed(ours, site.mnt / "clip.mov"),
                       lambda: timed(theirs, ground.native / "clip.mov"))


def measure_cp(ground):
    clip = ground.clip()
    site = ground.site().mount()
    for ours, theirs in copy_in_turns(ground, lambda: run("cp", clip, site.mnt),
                                      lambda: run("cp", clip, ground.native), site):
        ground.note("cp", ground.size / ours / 1e6, ground.size / theirs / 1e6)
    ground.drop(site)


def measure_verified(ground):
    clip = ground.clip()
    site = ground.site().mount()
    sums = ground.card / "sums"
    sums.write_text(run("xxhsum", "-H2", clip.name, cwd=ground.card, timeout=HOUR).stdout)

    def by_hand():
        target = ground.native / clip.name
        run("cp", clip, target)
        forget(target)
        run("xxhsum", "-q", "-c", sums, cwd=ground.native, timeout=HOUR)

    def with_mediafs():
        run("cp", clip, site.mnt)
        site.wait(clip.name, "verified", timeout=HOUR)
    for ours, theirs in copy_in_turns(ground, with_mediafs, by_hand, site):
        ground.note("verified", ours, theirs)
    ground.drop(site)


def measure_read(ground):
    clip = ground.clip()
    site = ground.site().mount()
    run("cp", clip, site.mnt)
    site.wait(state="verified", timeout=HOUR)
    run("cp", clip, ground.native)

    def rate(prepare, path, *below):
        prepare(*below, path)
        return ground.size / seconds(lambda: read(path)) / 1e6
    for number in ground.rounds:
        for key, prepare in (("read cold", forget), ("read memory", lambda *all: read(all[-1]))):
            ground.note(key, *in_turns(
                number, lambda: rate(prepare, site.mnt / clip.name, site.tree / clip.name),
                lambda: rate(prepare, ground.native / clip.name)))
    (ground.native / clip.name).unlink()
    ground.drop(site)
