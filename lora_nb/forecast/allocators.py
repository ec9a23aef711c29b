"""What does a program take from the system for the memory that its tensors need? More, because holes stay.

On a CPU that is a good part of a training's memory, so the rules of Linux's C library (glibc) are followed block by
block. They are the reason why two settings that need the same can take different amounts.
"""

import bisect
import random
from collections.abc import Sequence

from lora_nb.forecast.ledger import Event

PAGE = 4096
LEADER = 48  # bytes in front of a block, until the next address that is a multiple of 64, as PyTorch wants it
SPARE = 112  # bytes more than a block that a hole must have, so that such an address is surely in it
SMALLEST_OWN = 128 * 2**10  # blocks from this size on have pages of their own; freeing one raises the bound ...
LARGEST_SHARED = 32 * 2**20  # ... up to this
TOP_PAD = 128 * 2**10  # what is asked of the system beyond a request
PINNED = 0.4  # share of the leaders in which small objects settle; measured on whole runs (benchmarks/memory_forecast)
STEPS = 2  # until holes and blocks have found each other, nearly


def taken_on_cpu(events: Sequence[Event]) -> int:
    """The most that a program takes from Linux if its tensors come and go like this in each of its steps."""
    heap, peak = Heap(), 0
    for _ in range(STEPS):
        addresses: dict[int, tuple[int, int]] = {}
        for number, size in events:
            if size >= 0:
                addresses[number] = (heap.allocate(size), size)
                peak = max(peak, heap.taken)
            elif number in addresses:
                heap.free(*addresses.pop(number))
        for place in addresses.values():  # such as gradients, which go when the step is taken
            heap.free(*place)
    return peak


class Heap:
    """glibc's malloc for blocks as large as tensors (malloc/malloc.c, version 2.36).

    Large blocks have pages of their own, which go back to the system. All others share one heap: a request gets the
    smallest hole that is large enough, or the heap grows; only what is free at its end goes back. PyTorch wants its
    blocks at multiples of 64, so a hole must be a little larger than the block; what is left in front of it is soon
    taken by some small object, and then the hole that the block leaves is too small for another one like it.
    """

    def __init__(self) -> None:
        self.taken = 0  # bytes that are taken from the system now
        self._own_from = SMALLEST_OWN
        self._top = self._end = 0  # where the heap's last used byte is, and the heap itself
        self._holes: list[tuple[int, int]] = []  # (size, start), the smallest first
        self._starts: dict[int, int] = {}  # of holes: start => size
        self._ends: dict[int, int] = {}  # end => start
        self._chance = random.Random(0)

    def allocate(self, size: int) -> int:
        """Hand out a block. Returns its address, or -1 if it has pages of its own."""
        if size + SPARE >= self._own_from:
            self.taken += _round(size + SPARE, PAGE)
            return -1
        place = bisect.bisect_left(self._holes, (size + SPARE, -1))
        if place < len(self._holes):
            hole, start = self._holes[place]
            self._fill(start)
            self._dig(start + LEADER + size, hole - LEADER - size)
        else:
            start, self._top = self._top, self._top + LEADER + size
            if self._top > self._end:
                self._resize(_round(self._top + TOP_PAD, PAGE))
        if self._chance.random() >= PINNED:
            self._dig(start, LEADER)
        return start + LEADER

    def free(self, address: int, size: int) -> None:
        """Take a block back."""
        if address < 0:
            self.taken -= _round(size + SPARE, PAGE)
            self._own_from = max(self._own_from, min(size + SPARE, LARGEST_SHARED))
            return
        end = address + size
        if address in self._ends:  # there is a hole before it
            address = self._ends[address]
            self._fill(address)
        if end in self._starts:  # and behind it
            end += self._fill(end)
        if end < self._top:
            self._dig(address, end - address)
            return
        self._top = address
        if self._end - self._top > 2 * self._own_from:
            self._resize(_round(self._top + TOP_PAD, PAGE))

    def _resize(self, end: int) -> None:
        self.taken += end - self._end
        self._end = end

    def _dig(self, start: int, size: int) -> None:
        if size:
            self._starts[start], self._ends[start + size] = size, start
            bisect.insort(self._holes, (size, start))

    def _fill(self, start: int) -> int:
        size = self._starts.pop(start)
        del self._ends[start + size]
        self._holes.pop(bisect.bisect_left(self._holes, (size, start)))
        return size


def _round(size: int, step: int) -> int:
    return -(-size // step) * step
