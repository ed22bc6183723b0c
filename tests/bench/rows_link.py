"""An upload and a read over a line that is slow, long and loses packets: the cart at one end, a
gate to the server at the other."""
import contextlib
import socket
import threading

from gate import Gate
from lib import BLOCK
from net import HEADERS, MTU, SERVER, line

from ground import HOUR, forget, in_turns, run, seconds, wait_for
from rows_s3 import Download, bucket_of, send

JUMP_BLOCKS = 20  # twice what is read ahead, and the blocks at the ends
FIRST_GONE = 1  # of the blocks, when a file is evicted: head and tail stay


def round_trip(address):
    """Seconds that a connection takes; one packet that is lost costs more than a second."""
    def connect():
        with socket.create_connection(address, timeout=60):
            pass
    return min(seconds(connect) for _ in range(5))


def plain(size, enter, listener):
    """Seconds that one TCP stream of so many bytes takes: what the line really carries."""
    def take_all():
        link, _ = listener.accept()
        with link:
            while link.recv(1 << 18):
                pass
            link.sendall(b".")

    def give_all():
        with enter(), socket.create_connection(listener.getsockname()) as link:
            link.sendall(bytes(size))
            link.shutdown(socket.SHUT_WR)
            assert link.recv(1) == b"."
    taker = threading.Thread(target=take_all, daemon=True)
    taker.start()
    took = seconds(give_all)
    taker.join()
    return took


def the_line(words):
    """UP,DELAY,LOSS[,DOWN[,QUEUE]] in Mbit/s, ms, %: bytes a second, seconds, of 1."""
    up, delay, percent, *more = (float(word) for word in words.split(","))
    down = more[0] if more else up
    queue = more[1] if len(more) > 1 else max(2 * delay, 50)
    return up * 1e6 / 8, down * 1e6 / 8, delay / 1000, percent / 100, queue / 1000


def first_block(ground, site, gate, old, block, size):
    """Seconds until a reader has a block of a file that is not here, beside an upload: one that
    nobody has read, since the kernel may still have the bytes of those that were evicted."""
    site.cmd("evict", site.mnt / old)
    here = (site.tree / old).stat().st_blocks
    site.cmd("pause")
    clip = ground.clip("beside.mov", size)
    run("cp", clip, site.mnt)
    clip.unlink()
    site.wait("beside.mov", "verified", timeout=HOUR)
    before = gate.sent
    site.cmd("resume")
    wait_for(lambda: gate.sent > before + size // 4, "a quarter of it", HOUR)

    def read_one():
        with open(site.mnt / old, "rb") as file:
            file.seek(block * BLOCK)
            assert file.read(1)
    took = seconds(read_one)
    assert (site.tree / old).stat().st_blocks > here, "the block was here already"
    assert site.state("beside.mov") != "stored", "the upload ended too early"
    site.wait(timeout=HOUR)
    (site.mnt / "beside.mov").unlink()
    return took


def read_inner(path):
    """All but the first and the last block, which an evicted file keeps here."""
    with open(path, "rb", buffering=0) as file:
        left = path.stat().st_size - 2 * BLOCK
        file.seek(BLOCK)
        while left > 0:
            left -= len(file.read(min(left, 1 << 20)))


def jump(path):
    """Seconds that somebody waits who read in order and goes on elsewhere, as one who looks for a
    take: past what is read ahead."""
    with open(path, "rb", buffering=0) as file:
        file.seek(BLOCK)
        for _ in range((BLOCK >> 16) + 1):
            file.read(1 << 16)
        file.seek(path.stat().st_size * 2 // 3)
        return seconds(lambda: file.read(1 << 16))


def read_over_it(ground, bucket, enter, size, where):
    down = Download(ground, bucket, "far", size, enter, **where)
    for number in ground.rounds:
        ours, theirs = ((size - 2 * BLOCK) / 1e6 / took for took, _ in in_turns(
            number, lambda: down.timed(down.evicted, read_inner),
            lambda: down.timed(down.rclone, read_inner)))
        ground.note("link read", ours, theirs)
        waited = {}

        def jumping(name, cold):
            with cold() as (path, _):
                path.stat()
                forget(path)
                waited[name] = jump(path)
        in_turns(number, lambda: jumping("ours", down.evicted), lambda: jumping("theirs", down.rclone))
        ground.note("link jump", waited["ours"], waited["theirs"])
    ground.drop(down.site)


def measure_link(ground):
    rate, down, delay, loss, queue = the_line(ground.link)
    payload = rate * (MTU - HEADERS) / MTU
    size = int(payload * (1 if ground.quick else 30))
    with bucket_of(ground) as bucket, \
            line(rate, down, delay, loss, queue) as ends, \
            contextlib.closing(ends.listener()) as sink, \
            contextlib.closing(Gate(bucket.port, listener=ends.listener())) as gate:
        where = {"host": SERVER, "port": gate.port}
        with ends.at_the_cart():
            trip = round_trip((SERVER, gate.port))
            site = ground.site(tier=bucket.url("link", **where)).mount()
        assert trip >= 2 * delay, f"a round trip takes {trip} s"
        old = ground.clip("old.mov", (FIRST_GONE + 2 * len(ground.rounds)) * BLOCK)
        run("cp", old, site.mnt)
        site.wait(timeout=HOUR)
        for number in ground.rounds:
            clip = ground.clip(f"far-{number}.mov", size)

            def ours():
                site.cmd("pause")
                run("cp", clip, site.mnt)
                return size / send(site, clip.name)[0] / 1e6

            def theirs():
                with ends.at_the_cart():
                    return size / seconds(lambda: bucket.rclone_put(clip, clip.name, **where)) / 1e6
            our_rate, their_rate = in_turns(number, ours, theirs)
            stream = size / plain(size, ends.at_the_cart, sink) / 1e6
            assert max(our_rate, their_rate, stream) * 1e6 < 1.02 * payload, "the line has no limit"
            ground.note("link", our_rate, stream)
            ground.note("link rclone", our_rate, their_rate)
            ground.note("link reader", first_block(ground, site, gate, old.name,
                                                   FIRST_GONE + 2 * number,
                                                   max(size, int(6 * payload))))
            clip.unlink()
        ground.drop(site)
        payload = down * (MTU - HEADERS) / MTU
        read_over_it(ground, bucket, ends.at_the_cart,
                     max(JUMP_BLOCKS * BLOCK, 0 if ground.quick else int(payload * 15) + 2 * BLOCK),
                     where)
