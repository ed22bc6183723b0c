#!/usr/bin/env python3
"""A long line between two TUN devices: limited rate, delay and loss, in both directions.

usage: relay.py DESCRIPTOR DESCRIPTOR UP DOWN DELAY LOSS QUEUE

Each direction is a line of its own that carries one packet after the other, UP bytes a second from
the first device to the second, DOWN back; each packet takes DELAY seconds more. Before it lies a
queue of QUEUE seconds, and what finds that full is dropped, as a router does.
"""
import collections
import os
import random
import select
import sys
import time


class Line:
    def __init__(self, source, sink, rate, delay, loss, queue):
        self.source, self.sink = source, sink
        self.rate, self.delay, self.loss = rate, delay, loss
        self.longest = queue
        self.free_at = 0.0                   # when the line has carried all that it took
        self.under_way = collections.deque()  # (when it arrives, packet)
        self.chance = random.Random(source)

    def take(self):
        """All packets that wait at this end."""
        while True:
            try:
                packet = os.read(self.source, 1 << 16)
            except BlockingIOError:
                return
            now = time.monotonic()
            begin = max(now, self.free_at)
            if self.chance.random() >= self.loss and begin - now <= self.longest:
                self.free_at = begin + len(packet) / self.rate
                self.under_way.append((self.free_at + self.delay, packet))

    def give(self):
        """What has arrived by now; seconds until the next one does, None: nothing is under way."""
        while self.under_way:
            left = self.under_way[0][0] - time.monotonic()
            if left > 0:
                return left
            try:
                os.write(self.sink, self.under_way.popleft()[1])
            except OSError:
                pass  # that end is down
        return None


def main():
    first, second = int(sys.argv[1]), int(sys.argv[2])
    up, down, *line = [float(word) for word in sys.argv[3:]]
    lines = {first: Line(first, second, up, *line), second: Line(second, first, down, *line)}
    for descriptor in lines:
        os.set_blocking(descriptor, False)
    while True:
        waits = [wait for wait in (line.give() for line in lines.values()) if wait is not None]
        for descriptor in select.select(list(lines), [], [], min(waits, default=None))[0]:
            lines[descriptor].take()


if __name__ == "__main__":
    main()
