"""Basic blocks and loops of a kernel's machine code."""

from collections import defaultdict
from dataclasses import dataclass, field

from lzu_benchmarks.machine_code.sass import Frame, Instruction, Listing, Sources

JUMPS = ("BRA", "CALL", "BRX", "JMP")
ENDS = ("EXIT", "RET")


@dataclass
class Block:
    """Instructions that run one after the other, and the blocks that may follow."""

    instructions: list[Instruction]
    following: list[int] = field(default_factory=list)
    ends: bool = False
    """True where the kernel may end here."""


@dataclass(frozen=True)
class Loop:
    """A natural loop: all blocks of it, the first of each pass, and the last ones."""

    header: int
    blocks: frozenset[int]
    latches: frozenset[int]


def split_blocks(listing: Listing) -> list[Block]:
    """Cut a listing into basic blocks.

    A call of a function outside the listing, such as the slow path of a division, leads nowhere: no
    counted path takes it.
    """
    code = listing.instructions
    starts = {0, *listing.labels.values()}
    starts |= {i + 1 for i, each in enumerate(code) if each.name in (*JUMPS, *ENDS)}
    bounds = sorted(start for start in starts if start < len(code))
    number = {start: i for i, start in enumerate(bounds)}
    blocks = []
    for start, stop in zip(bounds, [*bounds[1:], len(code)], strict=True):
        block = Block(code[start:stop])
        last = block.instructions[-1]
        falls = stop < len(code)
        if last.table:
            block.following += [number[listing.labels[label]] for label in last.table]
            falls = falls and bool(last.predicate)
        elif last.name in JUMPS:
            inside = last.target in listing.labels
            if inside and listing.labels[last.target] in number:
                block.following.append(number[listing.labels[last.target]])
            # A condition is a predicate before the opcode, or one among the operands.
            falls = (
                falls
                and bool(last.predicate or last.operands.count(","))
                and (inside or last.name != "CALL")
            )
        elif last.name in ENDS:
            block.ends, falls = last.name == "EXIT", falls and bool(last.predicate)
        if falls:
            block.following.append(number[stop])
        blocks.append(block)
    return blocks


def find_loops(blocks: list[Block]) -> list[Loop]:
    """Find the natural loops, inner ones before those around them."""
    latches: dict[int, set[int]] = defaultdict(set)
    for latch, header in _back_edges(blocks):
        latches[header].add(latch)
    before: dict[int, set[int]] = defaultdict(set)
    for i, block in enumerate(blocks):
        for each in block.following:
            before[each].add(i)
    loops = []
    for header, ends in latches.items():
        members, waiting = {header}, list(ends)
        while waiting:
            member = waiting.pop()
            if member not in members:
                members.add(member)
                waiting += before[member]
        loops.append(Loop(header, frozenset(members), frozenset(ends)))
    return sorted(loops, key=lambda loop: len(loop.blocks))


def _back_edges(blocks: list[Block]) -> list[tuple[int, int]]:
    """Return the edges that lead back to a block on the way from the entry, depth first."""
    found = []
    on_way, seen = {0}, {0}
    stack = [(0, iter(blocks[0].following))]
    while stack:
        block, rest = stack[-1]
        following = next(rest, None)
        if following is None:
            on_way.discard(block)
            stack.pop()
        elif following in on_way:
            found.append((block, following))
        elif following not in seen:
            seen.add(following)
            on_way.add(following)
            stack.append((following, iter(blocks[following].following)))
    return found


def statement_of(loop: Loop, blocks: list[Block], sources: Sources) -> Frame | None:
    """Return the `for` or `while` statement of a loop, or None where no line has one."""
    for block in (*sorted(loop.latches, reverse=True), loop.header, *sorted(loop.blocks)):
        for instruction in reversed(blocks[block].instructions):
            for frame in instruction.frames[:1]:
                if sources.line(frame).startswith(("for ", "while ")):
                    return frame
    return None
