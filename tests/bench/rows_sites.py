"""Two sites: how long after close on the cart a file can be read at editorial."""
import os
import shutil
import statistics
import threading
import time

from ground import HOUR, wait_for
from lib import PATIENCE


def names(folder):
    return set(os.listdir(folder)) if folder.exists() else None


def p95(values):
    return sorted(values)[int(0.95 * (len(values) - 1) + 0.5)]


def delays(ground, cart, editorial, name):
    """Seconds from each close to the first read of the whole file over there."""
    count = 3 if ground.quick else 20
    closed, took = {}, []
    pause = threading.Event()
    start = time.monotonic()
    while len(took) < count:
        # Spread over the phases of both sites' polling.
        if len(closed) < count and time.monotonic() > start + 0.37 * len(closed):
            path = f"{name}-{len(closed)}.mov"
            (cart.mnt / path).write_bytes(path.encode())
            closed[path] = time.monotonic()
        for path, when in closed.items():
            if when and (editorial.mnt / path).exists():
                assert (editorial.mnt / path).read_bytes() == path.encode()
                took.append(time.monotonic() - when)
                closed[path] = None
        pause.wait(0.02)
        assert time.monotonic() < start + 4 * PATIENCE, f"{len(took)} of {count} became visible"
    return took


def measure_visible(ground):
    tier = ground.card / "tier"  # of another disk than the store, as a NAS is
    tier.mkdir()
    # As shipped: these are the pauses that people have.
    shipped = {} if ground.quick else {"sync.poll": "2s", "sync.flush": "1s"}
    cart = ground.site("cart", tier=tier, settings=shipped).mount()
    ground.many_files(cart, "tree")
    cart.wait(timeout=HOUR)
    editorial = ground.site("editorial", join=tier, settings=shipped).mount()
    for folder in (cart.mnt / "tree").iterdir():
        there = editorial.mnt / "tree" / folder.name
        wait_for(lambda folder=folder, there=there: names(there) == names(folder),
                 "the tree at editorial", HOUR)
    for number in ground.rounds:
        cart.set("ingest.settle", "0")
        ground.note("visible unsettled", p95(delays(ground, cart, editorial, f"now-{number}")))
        cart.set("ingest.settle", "100ms" if ground.quick else "5s")
        took = delays(ground, cart, editorial, f"settled-{number}")
        ground.note("visible", statistics.median(took))
        ground.note("visible p95", p95(took))
    ground.drop(cart, editorial)
    shutil.rmtree(tier)
