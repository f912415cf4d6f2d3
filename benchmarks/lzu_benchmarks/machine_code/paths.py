"""Count what a warp executes: the longest way through a kernel, loops by their numbers of passes.

At a branch the longer side counts, except for sides that a launch rules out. A path is a list of
instructions with the share of warps that execute each, and of loops with their passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lzu_benchmarks.machine_code.flow import (
    Loop,
    find_loops,
    split_blocks,
    statement_of,
)
from lzu_benchmarks.machine_code.sass import Frame, Instruction, Listing, Sources
from lzu_export.errors import LzuError

_COUNTER = re.compile(r"(U?R\d+), (?:U?PT, U?PT, )?(U?R\d+)(?:\.reuse)?, (-?0x[0-9a-f]+)\b")
"""Operands of an addition of a constant to a register."""
_STEP = re.compile(r"(\+\+|--)\w+\)|\w+ [+-]= (\w+)\)")


@dataclass(frozen=True)
class Repeat:
    """A loop: what one pass executes, and the mean number of passes."""

    passes: float
    body: Path


Path = list["tuple[Instruction, float] | Repeat"]
"""Instructions with the share of warps that execute them, and loops."""


@dataclass(frozen=True)
class Rules:
    """What a launch says of a kernel's source; keys are parts of source lines."""

    passes: Mapping[str, float]
    """Mean number of passes of each loop by a part of its `for` or `while` line."""
    shares: Mapping[str, float]
    """Share of the warps that execute a statement, and all it calls; 0 for a side not taken."""
    steps: Mapping[str, int] = field(default_factory=dict)
    """Constants of the source that a loop's counter grows by."""


class Counter:
    """Finds the path of one kernel in one launch."""

    def __init__(self, listing: Listing, rules: Rules, sources: Sources) -> None:
        self.rules, self.sources = rules, sources
        self.blocks = split_blocks(listing)
        self.loops = find_loops(self.blocks)
        self.inside: dict[int, list[Loop]] = {
            i: [loop for loop in self.loops if i in loop.blocks] for i in range(len(self.blocks))
        }
        self._shares: dict[tuple[Frame, ...], float] = {}
        self._bodies: dict[int, tuple[float, Path]] = {}
        self._statements = {
            loop.header: statement_of(loop, self.blocks, sources) for loop in self.loops
        }

    def path(self) -> Path:
        """Return the path from the kernel's entry to its end.

        Raises:
            LzuError: a loop on a path has no number of passes.
        """
        every = frozenset(range(len(self.blocks)))
        return self._longest(0, every, frozenset(), None)[1]

    def share(self, instruction: Instruction) -> float:
        """Return the share of warps that execute an instruction."""
        frames = instruction.frames
        if frames not in self._shares:
            share = 1.0
            for frame in frames:
                text = self.sources.line(frame)
                for part, value in self.rules.shares.items():
                    share *= value if part in text else 1.0
            self._shares[frames] = share
        return self._shares[frames]

    def _node(self, block: int, around: Loop | None) -> int:
        """Return the block, or the header of the outermost loop of it that `around` holds."""
        loops = self.inside[block]
        if around is not None:
            loops = [loop for loop in loops if loop.blocks < around.blocks]
        return loops[-1].header if loops else block

    def _after(self, node: int, around: Loop | None) -> Iterator[int]:
        """Yield the nodes that follow a block or a loop."""
        loops = [loop for loop in self.loops if loop.header == node and loop is not around]
        members = loops[-1].blocks if loops else frozenset([node])
        for block in sorted(members):
            for following in self.blocks[block].following:
                if following not in members:
                    yield self._node(following, around)

    def _longest(
        self, first: int, within: frozenset[int], ends: frozenset[int], around: Loop | None
    ) -> tuple[float, Path]:
        """Return length and path of the longest way from a block to one of the ends."""
        start = self._node(first, around)
        order = self._ordered(start, within, around)
        best: dict[int, tuple[float, int | None]] = {}
        for node in order:
            options = [
                (best[after][0], after)
                for after in self._after(node, around)
                if after in best and not (around is not None and after == around.header)
            ]
            loop = self._loop_at(node, around)
            members = loop.blocks if loop else frozenset([node])
            finishes = members & ends if ends else {m for m in members if self.blocks[m].ends}
            chosen = max(options, default=(float("-inf"), None))
            if finishes and chosen[0] < 0:
                chosen = (0.0, None)
            if chosen[0] == float("-inf"):
                continue
            best[node] = (chosen[0] + self._cost(node, loop)[0], chosen[1])
        if start not in best:
            return float("-inf"), []
        path: Path = []
        at: int | None = start
        while at is not None:
            path += self._cost(at, self._loop_at(at, around))[1]
            at = best[at][1]
        return best[start][0], path

    def _loop_at(self, node: int, around: Loop | None) -> Loop | None:
        found = [
            loop
            for loop in self.inside[node]
            if loop.header == node and (around is None or loop.blocks < around.blocks)
        ]
        return found[-1] if found else None

    def _ordered(self, start: int, within: frozenset[int], around: Loop | None) -> list[int]:
        """Return the nodes from the last to the first."""
        done: list[int] = []
        seen = {start}
        stack = [(start, self._after(start, around))]
        while stack:
            node, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                done.append(node)
                stack.pop()
            elif following in within and following not in seen:
                seen.add(following)
                stack.append((following, self._after(following, around)))
        return done

    def _cost(self, node: int, loop: Loop | None) -> tuple[float, Path]:
        """Return length and path of a block, or of all passes of a loop."""
        if loop is None:
            items = [(each, self.share(each)) for each in self.blocks[node].instructions]
            if any(share == 0 for each, share in items if each.name not in ("BSSY", "BSYNC")):
                items = [(each, share) for each, share in items if share > 0]
                # A side that is ruled out must not win by what it shares with its surroundings.
                return sum(share for _, share in items) - 1e-3, list(items)
            return sum(share for _, share in items), list(items)
        length, body = self._body(loop)
        passes = self._passes(loop)
        if passes <= 0 or length <= 0:
            return 0.0, []
        return passes * length, [Repeat(passes, body)]

    def _body(self, loop: Loop) -> tuple[float, Path]:
        if loop.header not in self._bodies:
            self._bodies[loop.header] = self._longest(loop.header, loop.blocks, loop.latches, loop)
        return self._bodies[loop.header]

    def _passes(self, loop: Loop) -> float:
        """Return the passes of a loop, fewer where one of them makes several of the source."""
        lines = self._lines(loop)
        given = [v for part, v in self.rules.passes.items() if any(part in x for x in lines)]
        if not given:
            frames = self.blocks[loop.header].instructions[0].frames
            place = self._statements[loop.header] or (frames[0] if frames else ("a kernel", 0))
            raise LzuError(
                f"the loop at {place[0]}:{place[1]} has no number of passes in "
                f"lzu_benchmarks/machine_code: {self.sources.line(place)}"
            )
        factor = self._unrolled(loop)
        rest = [self._unrolled(other) for other in self._siblings(loop) if other is not loop]
        larger = max([each for each in rest if each > factor], default=0)
        left = given[0] % larger if larger else given[0]
        return left // factor if any(each < factor for each in rest) else left / factor

    def _lines(self, loop: Loop) -> list[str]:
        """Return the text of a loop's statement, or of all its lines where it has none."""
        statement = self._statements[loop.header]
        if statement is not None:
            return [self.sources.line(statement)]
        frames = {
            frame
            for block in loop.blocks
            for instruction in self.blocks[block].instructions
            for frame in instruction.frames
        }
        return [self.sources.line(frame) for frame in frames]

    def _siblings(self, loop: Loop) -> list[Loop]:
        """Return the loops that the compiler made of one statement of the same call."""
        mine = self._statements[loop.header]
        return [
            other
            for other in self.loops
            if self._statements[other.header] == mine
            and not (other.blocks < loop.blocks or loop.blocks < other.blocks)
        ]

    def _unrolled(self, loop: Loop) -> int:
        """Return how many passes of the source one pass of the machine code makes.

        It is what a counter grows by in a pass, divided by what the statement adds to it.
        """
        statement = self._statements[loop.header]
        step = self._step(self.sources.line(statement)) if statement else 0
        grown = [
            abs(int(found[3], 16))
            for block in loop.blocks
            for each in self.blocks[block].instructions
            if "ADD" in each.opcode and each.frames[:1] == (statement,)
            for found in [_COUNTER.match(each.operands)]
            if found and found[1] == found[2]
        ]
        factors = [each // step for each in grown if step and each % step == 0]
        return max(1, min(factors, default=1))

    def _step(self, text: str) -> int:
        """Return what a `for` statement adds to its counter, or 0 where that is not known."""
        found = _STEP.search(text)
        if not found:
            return 0
        return 1 if found[1] else self.rules.steps.get(found[2], 0)


def flat(path: Path, times: float = 1.0) -> Iterator[tuple[Instruction, float]]:
    """Yield each instruction of a path with the mean number of times that a warp executes it."""
    for item in path:
        if isinstance(item, Repeat):
            yield from flat(item.body, times * item.passes)
        else:
            yield item[0], times * item[1]
