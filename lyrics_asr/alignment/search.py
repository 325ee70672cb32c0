"""The best path through a graph of lines: an exact Viterbi search in bounded memory, compiled by Numba.

Conventions
- The states of a graph are in the order of the lyrics: gap 0, line 0, gap 1, line 1, ..., the last gap. A gap has two
  states: a pause, and a filler for singing that no line covers.
- A state follows itself, the state before it and, where `skip_scores` says so, the one two before it. A pause also
  follows the filler of its gap. From the pause of a gap, a path may jump to that of a later gap, which leaves lines
  out, or of an earlier gap, which sings lines again; both have a price.
- A path starts in the first pause and ends in the last one. Its score is the sum of its frames' scores minus prices.
- A line may have a window of frames; outside it, each frame of the line has a price.
- Steps of the path are kept for one block of frames at a time: the search stores the scores at the start of each block
  on the way forward, and computes the block again on the way back.
- A graph that is too large for the full search is searched in a window of lines, which moves along with the best path.
  The path is lost in a block of frames if the lines of the window explain little of its singing. This block and the
  one before are then searched again in a wide window, which stays until lines are found.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numba import njit
from numpy.typing import NDArray

_MAX_CELLS = 1 << 31
"""Largest frames x states of a full search."""
_MAX_BLOCK_CELLS = 1 << 26
"""Largest frames x states of a block: its memory in bytes."""
_WINDOW_BLOCK_FRAMES = 500
_WINDOW_STATES = 4_000
"""Size of the window where the full search is too large: some 35 lines each way."""
_WIDE_WINDOW_STATES = 1 << 15
"""Its size where the path was lost: some 300 lines each way."""
_MIN_EVIDENCE = 1.0
"""What tells that the path is lost or found, as the logarithm of a likelihood ratio; less says nothing."""

_OUTSIDE_PRICE = 10.0
"""Price of each frame of a line outside its window: far more than most frames can gain."""

ANY_FRAME = np.iinfo(np.int64).max
"""The end of a window without end."""

_STAY, _NEXT, _SKIP, _FILLER, _JUMP = range(5)


@dataclass(frozen=True)
class LineGraph:
    """The states of lyrics, and the prices of its jumps.

    Args:
        columns: column of the scores of each state.
        next_scores: score of the step to each state from the one before it; minus infinity where there is none.
        skip_scores: score of the step to each state from the one two before it; minus infinity where there is none.
        gaps: first state of each gap, the pause; one more than lines.
        omission_prices: price of leaving out all lines before each gap, cumulative.
        omission_start_price: further price of leaving out lines in a row.
        jump_price: price of a jump back, and largest price of a jump ahead.
        windows: frames [start, end) in which each line is sung; None for all.
    """

    columns: NDArray[np.int32]
    next_scores: NDArray[np.float64]
    skip_scores: NDArray[np.float64]
    gaps: NDArray[np.int32]
    omission_prices: NDArray[np.float64]
    omission_start_price: float
    jump_price: float
    windows: NDArray[np.int64] | None = None

    @property
    def lines(self) -> int:
        """Number of lines."""
        return len(self.gaps) - 1


@dataclass(frozen=True)
class _Block:
    """Frames [start, end), searched in the lines [first, last), with the scores of all states before them."""

    start: int
    end: int
    first: int
    last: int
    before: NDArray[np.float64]


def best_path(scores: NDArray[np.float32], graph: LineGraph, *, max_cells: int = _MAX_CELLS) -> NDArray[np.int32]:
    """The state of each frame on the best path.

    Args:
        scores: score of each column at each frame.
        graph: what may be sung.
        max_cells: largest frames x states of a full search; larger ones are searched in a window.
    """
    blocks = _forward(scores, graph, max_cells)
    path = np.empty(len(scores), dtype=np.int32)
    state = -1
    for block in reversed(blocks):
        steps, origins, after = _run(scores, graph, block, store=True)
        if state < 0:
            state = _best_end(after, graph, block)
        state = _trace(steps, origins, graph.gaps, block.first, state, path[block.start : block.end])
    return path


def _forward(scores: NDArray[np.float32], graph: LineGraph, max_cells: int) -> list[_Block]:
    """Blocks of frames, each with the scores of the states of its window before its first frame."""
    frames, states = len(scores), len(graph.columns)
    full = frames * states <= max_cells
    length = max(1, _MAX_BLOCK_CELLS // states) if full else _WINDOW_BLOCK_FRAMES
    before = np.full(states, -np.inf)
    blocks: list[_Block] = []
    wide_until, is_wide = 0, False
    while not blocks or blocks[-1].end < frames:
        start = blocks[-1].end if blocks else 0
        is_wide = is_wide or start < wide_until
        size = states if full else _WIDE_WINDOW_STATES if is_wide else _WINDOW_STATES
        first, last = _window(before, graph, start, size)
        block = _Block(start, min(frames, start + length), first, last, before[_states(graph, first, last)].copy())
        _, _, after = _run(scores, graph, block, store=False)
        explained = 0.0 if full else _explained(scores, graph, block, after)
        if explained < -_MIN_EVIDENCE and not is_wide and size < states:
            wide_until = block.end
            block = blocks.pop() if blocks else block
            after = block.before
        else:
            blocks.append(block)
            is_wide = is_wide and explained <= _MIN_EVIDENCE
        before[:] = -np.inf
        before[_states(graph, block.first, block.last)] = after
    return blocks


def _window(before: NDArray[np.float64], graph: LineGraph, start: int, size: int) -> tuple[int, int]:
    """The lines around the best pause: in a line, the price of which is paid at its start, scores say less."""
    best = int(graph.gaps[before[graph.gaps].argmax()]) if start else 0
    low = max(0, min(best - size // 2, len(before) - size))
    first = int(np.searchsorted(graph.gaps, low, side="right")) - 1
    last = int(np.searchsorted(graph.gaps, min(len(before) - 1, low + size), side="left"))
    return first, min(max(last, first + 1), graph.lines)


def _explained(scores: NDArray[np.float32], graph: LineGraph, block: _Block, after: NDArray[np.float64]) -> float:
    """By how much lines explain more than half of the singing of a block: negative if the path is lost."""
    if not np.isfinite(graph.jump_price):
        return 0.0
    pauses = graph.gaps[block.first : block.last + 1] - graph.gaps[block.first]
    before = block.before[pauses].max() if block.start else 0.0
    own = scores[block.start : block.end]
    without_lines = own[:, graph.columns[:2]].max(axis=1)
    price = (own.max(axis=1) - without_lines).sum(dtype=np.float64)
    return float(after[pauses].max() - before - without_lines.sum(dtype=np.float64) - price / 2)


def _states(graph: LineGraph, first: int, last: int) -> slice:
    """The states of the lines [first, last) and of the gaps around them."""
    return slice(int(graph.gaps[first]), int(graph.gaps[last]) + 2)


def _run(
    scores: NDArray[np.float32], graph: LineGraph, block: _Block, *, store: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.float64]]:
    own = _states(graph, block.first, block.last)
    frames = block.end - block.start if store else 1
    steps = np.empty((frames, own.stop - own.start), dtype=np.uint8)
    origins = np.empty((frames, block.last - block.first + 1), dtype=np.int32)
    after = block.before.copy()
    windows = np.tile(np.array([0, ANY_FRAME]), (graph.lines, 1)) if graph.windows is None else graph.windows
    _viterbi(
        scores[block.start : block.end],
        graph.columns[own],
        graph.next_scores[own],
        graph.skip_scores[own],
        graph.gaps[block.first : block.last + 1] - own.start,
        graph.omission_prices[block.first : block.last + 1],
        windows[block.first : block.last] - block.start,
        (graph.omission_start_price, graph.jump_price),
        block.start == 0,
        after,
        steps,
        origins,
    )
    return steps, origins, after


def _best_end(after: NDArray[np.float64], graph: LineGraph, block: _Block) -> int:
    """The last pause; where the window has left it out, the pause from which leaving out the rest is cheapest."""
    gaps = graph.gaps[block.first : block.last + 1]
    ends = after[gaps - gaps[0]] + graph.omission_prices[block.first : block.last + 1]
    return int(gaps[-1] if block.last == graph.lines else gaps[ends.argmax()])


@njit(cache=True, nogil=True)
@no_type_check  # checks of types at run time wrap functions, and Numba compiles no wrapper
def _viterbi(scores, columns, nexts, skips, gaps, omissions, windows, prices, is_start, best, steps, origins):
    """Advance `best`, the score of each state, over all frames; `steps` and `origins` tell how."""
    omission_start, jump = prices
    states, lines = len(columns), len(gaps) - 1
    now = np.empty(states)
    pauses = np.empty(lines + 1)
    for frame in range(len(scores)):
        row = frame if frame < len(steps) else 0
        score, step = scores[frame], steps[row]
        if is_start and frame == 0:
            now[:] = -np.inf
            now[0] = score[columns[0]]
            step[0] = _STAY
        else:
            now[0], step[0] = best[0], _STAY
            now[1] = max(best[1], best[0] + nexts[1])
            step[1] = _STAY if best[1] >= best[0] + nexts[1] else _NEXT
            for state in range(2, states):  # without branches, for the compiler to vectorize
                stay, following, skipping = (
                    best[state],
                    best[state - 1] + nexts[state],
                    best[state - 2] + skips[state],
                )
                top = max(stay, following)
                now[state] = max(top, skipping)
                step[state] = _SKIP if skipping > top else (_NEXT if following > stay else _STAY)
            for line in range(lines + 1):
                pause = gaps[line]
                if best[pause + 1] > now[pause]:
                    now[pause], step[pause] = best[pause + 1], _FILLER
            for state in range(states):
                now[state] += score[columns[state]]
            for line in range(lines):
                if not windows[line, 0] <= frame < windows[line, 1]:
                    now[gaps[line] + 2 : gaps[line + 1]] -= _OUTSIDE_PRICE
        # jumps from pause to pause
        for line in range(lines + 1):
            pauses[line] = now[gaps[line]]
            origins[row, line] = line
        top, origin, any_top, any_origin = -np.inf, 0, -np.inf, 0
        for line in range(lines + 1):
            ahead = top - omission_start - omissions[line]
            if ahead > now[gaps[line]]:
                now[gaps[line]] = ahead
                origins[row, line] = origin
            if any_top - jump > now[gaps[line]]:
                now[gaps[line]] = any_top - jump
                origins[row, line] = any_origin
            if pauses[line] + omissions[line] > top:
                top, origin = pauses[line] + omissions[line], line
            if pauses[line] > any_top:
                any_top, any_origin = pauses[line], line
        top, origin = -np.inf, lines
        for line in range(lines, -1, -1):
            if top - jump > now[gaps[line]]:
                now[gaps[line]] = top - jump
                origins[row, line] = origin
            if pauses[line] > top:
                top, origin = pauses[line], line
        best[:] = now


@njit(cache=True, nogil=True)
@no_type_check  # checks of types at run time wrap functions, and Numba compiles no wrapper
def _trace(steps, origins, gaps, first, state, path):
    """Write the path that ends in `state`, and return the state before its first frame."""
    low = gaps[first]
    line = np.searchsorted(gaps, state, side="right") - 1
    for frame in range(len(path) - 1, -1, -1):
        if state == gaps[line]:
            line = first + origins[frame, line - first]
            state = gaps[line]
        path[frame] = state
        step = steps[frame, state - low]
        if step == _FILLER:
            state += 1
        elif step in (_NEXT, _SKIP):
            state -= step
            if state < gaps[line]:
                line -= 1
    return state
