from dataclasses import replace

import numpy as np
import pytest

from lyrics_asr.alignment.search import LineGraph, best_path

LENGTHS = (2, 1, 3)


def make_graph(generator, jump_price):
    """Three lines of a few states with random skips, bonuses and prices."""
    columns, following, skipping, gaps = [], [], [], []
    for length in (*LENGTHS, 0):
        gaps.append(len(columns))
        columns += [4, 5, *generator.integers(0, 4, length)]
        bonus = generator.random(min(1, length))
        following += [0.0, -0.5, *bonus, *[0.0] * (length - 1)]
        skipping += [-np.inf, -0.5, *bonus, *np.where(generator.random(max(0, length - 1)) < 0.5, 0.0, -np.inf)]
    return LineGraph(
        columns=np.array(columns, dtype=np.int32),
        next_scores=np.array(following),
        skip_scores=np.array(skipping),
        gaps=np.array(gaps, dtype=np.int32),
        omission_prices=np.array([0.0, *generator.random(3).cumsum()]),
        omission_start_price=0.3,
        jump_price=jump_price,
    )


def transition_scores(graph):
    """Score of every transition, with -inf for those that are not allowed, and that of every jump between gaps."""
    states, gaps = len(graph.columns), graph.gaps.tolist()
    direct = np.full((states, states), -np.inf)
    for state in range(states):
        direct[state, state] = 0.0
        if state in gaps:
            direct[state + 1, state] = 0.0
        if state >= 1:
            direct[state - 1, state] = graph.next_scores[state]
        if state >= 2:
            direct[state - 2, state] = graph.skip_scores[state]
    omissions = graph.omission_prices
    jumps = np.zeros((len(gaps), len(gaps)))
    for origin in range(len(gaps)):
        for target in range(len(gaps)):
            ahead = graph.omission_start_price + omissions[target] - omissions[origin] if target > origin else np.inf
            jumps[origin, target] = 0.0 if origin == target else -min(ahead, graph.jump_price)
    scores = direct.copy()
    for origin, start in enumerate(gaps):
        for target, end in enumerate(gaps):
            scores[start] = np.maximum(scores[start], direct[end] + jumps[origin, target])
    return scores, jumps[:, -1]


def score_of(path, scores, graph):
    transitions, ends = transition_scores(graph)
    steps = transitions[path[:-1], path[1:]].sum()
    end = ends[graph.gaps.tolist().index(path[-1])]
    return scores[np.arange(len(path)), graph.columns[path]].sum() + steps + end


def best_score(scores, graph):
    """The score of the best path, by the textbook recursion over all pairs of states."""
    transitions, ends = transition_scores(graph)
    best = np.full(len(graph.columns), -np.inf)
    best[0] = scores[0, graph.columns[0]]
    for frame in scores[1:]:
        best = (best[:, None] + transitions).max(axis=0) + frame[graph.columns]
    return (best[graph.gaps] + ends).max()


@pytest.mark.parametrize("jump_price", [0.2, 1.0, np.inf])
@pytest.mark.parametrize("seed", range(20))
def test_path_is_the_best_of_all(seed, jump_price):
    generator = np.random.default_rng(seed)
    graph = make_graph(generator, jump_price)
    scores = generator.normal(size=(30, 6)).astype(np.float32)
    path = best_path(scores, graph)
    assert score_of(path, scores, graph) == pytest.approx(best_score(scores, graph), abs=1e-4)


def test_blocks_give_the_path_of_one_piece(monkeypatch):
    generator = np.random.default_rng(0)
    graph = make_graph(generator, 1.0)
    scores = generator.normal(size=(100, 6)).astype(np.float32)
    whole = best_path(scores, graph)
    monkeypatch.setattr("lyrics_asr.alignment.search._MAX_BLOCK_CELLS", 7 * len(graph.columns))
    assert np.array_equal(best_path(scores, graph), whole)


@pytest.mark.parametrize("seed", range(5))
def test_frames_outside_the_window_of_their_line_have_a_price(seed, monkeypatch):
    """A window is a lower score of its line's states, here with a column of its own for each state."""
    generator = np.random.default_rng(seed)
    graph = make_graph(generator, 1.0)
    graph = replace(graph, columns=np.arange(len(graph.columns), dtype=np.int32))
    scores = generator.normal(size=(40, len(graph.columns))).astype(np.float32)
    windows = np.array([[0, 9], [12, 20], [25, np.iinfo(np.int64).max]])
    lower = scores.copy()
    for line, (start, end) in enumerate(windows):
        states = slice(graph.gaps[line] + 2, graph.gaps[line + 1])
        lower[:start, states] -= 10
        lower[end:, states] -= 10
    monkeypatch.setattr("lyrics_asr.alignment.search._MAX_BLOCK_CELLS", 7 * len(graph.columns))
    assert np.array_equal(best_path(scores, replace(graph, windows=windows)), best_path(lower, graph))


SUNG = {
    "not every line": [line for line in range(60) if line % 7 != 3],
    "a third is left out": [*range(15), *range(35, 60)],
    "from the middle": [*range(30, 60)],
    "most is sung again": [*range(50), *range(5, 60)],
    "other singing in between": [*range(25), *[None] * 8, *range(25, 60)],
    "other singing, and lines left out": [*range(20), *[None] * 8, *range(45, 60)],
}


@pytest.mark.parametrize("sung", SUNG.values(), ids=SUNG.keys())
def test_a_window_that_moves_along_gives_the_path_of_the_full_search(sung, monkeypatch):
    """The window has 11 of the 60 lines, and none of them is sung for several blocks."""
    generator = np.random.default_rng(0)
    lines = [generator.integers(0, 8, 16) for _ in range(60)]
    columns, following, skipping, gaps = [], [], [], []
    for letters in (*lines, []):
        gaps.append(len(columns))
        columns += [8, 9, *letters]
        bonus = [4.0] * min(1, len(letters))
        following += [0.0, -5.0, *bonus, *[0.0] * (len(letters) - 1 if len(letters) else 0)]
        skipping += [-np.inf, -5.0, *bonus, *[-np.inf] * (len(letters) - 1 if len(letters) else 0)]
    frames = []
    for line in sung:
        letters = generator.integers(0, 8, 16) if line is None else lines[line]
        frames += [8] * int(generator.integers(1, 20)) + np.repeat(letters, 2).tolist()
    frames += [8] * 10
    graph = LineGraph(
        np.array(columns, dtype=np.int32),
        np.array(following),
        np.array(skipping),
        np.array(gaps, dtype=np.int32),
        np.arange(61) * 5.0,
        3.0,
        40.0,
    )
    scores = generator.normal(size=(len(frames), 10)).astype(np.float32) - 3
    scores[np.arange(len(frames)), frames] += 3
    scores[:, 9] = scores[:, :9].max(axis=1) - 0.2
    full = best_path(scores, graph)
    monkeypatch.setattr("lyrics_asr.alignment.search._WINDOW_STATES", 200)
    monkeypatch.setattr("lyrics_asr.alignment.search._WINDOW_BLOCK_FRAMES", 50)
    moving = best_path(scores, graph, max_cells=0)
    is_gap = graph.columns >= 8  # singing without lyrics may be in any gap on either side of a jump
    assert np.array_equal(np.where(is_gap[moving], -1, moving), np.where(is_gap[full], -1, full))
