"""KenLM's programs, mixtures, binaries, perplexity and damaged files; the estimator is in test_language_model.py."""

import math
import os
import random
import subprocess
from itertools import pairwise
from pathlib import Path

import kenlm
import numpy as np
import pytest
import torch

from lyrics_asr.cli.main import main
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.emissions import Emissions
from lyrics_asr.files import OutputError
from lyrics_asr.language_model import (
    BuildOptions,
    build_language_model,
    build_mixture,
    describe_language_model,
    load_kenlm,
    measure_perplexity,
    read_unigrams,
)
from lyrics_asr.language_model.files import read_entries
from lyrics_asr.language_model.kenlm_tools import find_tool
from lyrics_asr.language_model.texts import Sentences, most_frequent_words, read_vocabulary
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.text import parse_lyrics, read_corpus_lyrics, stream_lyrics
from lyrics_asr.options import DecodingOptions
from lyrics_asr.types import FrameGrid, Vocabulary

LYRICS = Path(__file__).parents[2] / "data" / "lyrics" / "en"
GOLDEN = Path(__file__).parents[1] / "golden"
OWN = BuildOptions(estimator="own")
GOLDEN_TEXT = (GOLDEN / "text.txt").read_text(encoding="utf-8").splitlines()

needs_lmplz = pytest.mark.skipif(find_tool("lmplz") is None, reason="KenLM's lmplz is neither on PATH nor in KENLM_BIN")
needs_binaries = pytest.mark.skipif(
    find_tool("build_binary") is None, reason="KenLM's build_binary is neither on PATH nor in KENLM_BIN"
)


def song_lines(*numbers):
    paths = sorted(LYRICS.glob("*.txt"))
    chosen = [paths[i] for i in numbers]
    return [normalize(line.text) for p in chosen for line in parse_lyrics(p.read_text(encoding="utf-8")).lines]


def entries(path):
    return {(order, entry.ngram): entry for order, entry in read_entries(path)}


def assert_same_model(path, reference, tolerance=1e-5):
    mine, theirs = entries(path), entries(reference)
    assert mine.keys() == theirs.keys()
    for key, entry in theirs.items():
        if key != (1, "<s>"):  # a context, never predicted: lmplz writes 0, SRILM -99
            assert mine[key].log10_probability == pytest.approx(entry.log10_probability, abs=tolerance), key
        backoff = mine[key].log10_backoff
        assert (backoff or 0) == pytest.approx(entry.log10_backoff or 0, abs=tolerance), key


def probability(model, context, word):
    state, following = kenlm.State(), kenlm.State()
    begins = context[:1] == ("<s>",)
    (model.BeginSentenceWrite if begins else model.NullContextWrite)(state)
    for previous in context[begins:]:
        model.BaseScore(state, previous, following)
        state, following = following, kenlm.State()
    return 10 ** model.BaseScore(state, word, following)


def stand_in(folder, name, script):
    """A program in place of one of KenLM's."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return folder


# ---- Against lmplz ----


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain", BuildOptions(estimator="own")),
        ("pruned", BuildOptions((0, 0, 1), most_frequent_words(GOLDEN_TEXT, 60), estimator="own")),
    ],
)
def test_own_estimator_writes_what_lmplz_wrote(name, options, tmp_path):
    # lmplz -o 3 --discount_fallback [--prune 0 0 1 --limit_vocab_file most-frequent-words] of the kenlm package 0.3.0
    build_language_model(GOLDEN_TEXT, 3, tmp_path / "own.arpa", options)
    assert_same_model(tmp_path / "own.arpa", GOLDEN / f"lmplz_{name}.arpa")


@needs_lmplz
@pytest.mark.parametrize("order", [2, 3, 4, 5])
@pytest.mark.parametrize("prune", [(), (0, 1), (1,)])
@pytest.mark.parametrize("words", [None, 300])
def test_own_estimator_and_lmplz_agree(order, prune, words, tmp_path):
    train, test = song_lines(*range(5, 40)), song_lines(1, 2, 3)
    vocabulary = None if words is None else most_frequent_words(train, words)
    perplexities = []
    for estimator in ("own", "kenlm"):
        path = tmp_path / f"{estimator}.arpa"
        build_language_model(train, order, path, BuildOptions(prune, vocabulary, estimator))
        perplexities.append(measure_perplexity(load_kenlm(path), test).with_oov)
    assert perplexities[0] == pytest.approx(perplexities[1], rel=0.01)
    assert_same_model(tmp_path / "own.arpa", tmp_path / "kenlm.arpa")


@needs_lmplz
@pytest.mark.parametrize("estimator", ["own", "kenlm"])
def test_short_lines_lower_the_order_for_both_estimators(estimator, tmp_path):
    build_language_model(["hello", "yes"], 5, tmp_path / "a.arpa", BuildOptions(estimator=estimator))
    assert load_kenlm(tmp_path / "a.arpa").order == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.arpa"]


def test_pruning_and_vocabulary_leave_probabilities_that_sum_to_one(tmp_path):
    sentences = song_lines(2, 3, 4)
    options = BuildOptions((0, 1), most_frequent_words(sentences, 80), "own")
    build_language_model(sentences, 3, tmp_path / "a.arpa", options)
    model = load_kenlm(tmp_path / "a.arpa")
    words = read_unigrams(tmp_path / "a.arpa")
    assert set(words) == options.vocabulary
    counts = describe_language_model(tmp_path / "a.arpa").counts
    assert counts == tuple(sum(order == n for order, _ in entries(tmp_path / "a.arpa")) for n in (1, 2, 3))
    tokens = [("<s>", *sentence.split(), "</s>") for sentence in sentences[:15]]
    for context in {t[i : i + n] for t in tokens for n in (0, 1, 2) for i in range(len(t) - n)}:
        total = sum(probability(model, context, word) for word in (*words, "</s>", "<unk>"))
        assert total == pytest.approx(1, abs=1e-4), context


# ---- Mixtures ----


def mixture(folder, texts, held_out, order=3):
    report = build_mixture(texts, held_out, order, folder / "mix.arpa", OWN)
    for i, text in enumerate(texts):
        build_language_model(text, order, folder / f"{i}.arpa", OWN)
    return report, load_kenlm(folder / "mix.arpa"), [load_kenlm(folder / f"{i}.arpa") for i in range(len(texts))]


def known(model, context, word):
    return probability(model, context, word) if word in model or word == "<unk>" else 0.0


def test_mixture_is_the_weighted_sum_and_sums_to_one(tmp_path):
    report, mixed, parts = mixture(tmp_path, [song_lines(2, 3), song_lines(4)], song_lines(5))
    assert sum(report.weights) == pytest.approx(1)
    stored = [ngram.split() for (_, ngram) in entries(tmp_path / "mix.arpa") if ngram != "<s>"]
    for *context, word in stored:
        expected = sum(w * known(m, tuple(context), word) for w, m in zip(report.weights, parts, strict=True))
        assert probability(mixed, tuple(context), word) == pytest.approx(expected, rel=1e-4), (context, word)
    words = (*read_unigrams(tmp_path / "mix.arpa"), "</s>", "<unk>")
    contexts = sorted({tuple(context) for *context, _ in stored})
    for context in [(), *random.Random(0).sample(contexts, 40), ("unheard",)]:
        assert sum(probability(mixed, context, word) for word in words) == pytest.approx(1, abs=1e-4), context


def test_weights_are_those_of_the_smallest_perplexity(tmp_path):
    held_out = song_lines(5, 6)
    report, _, parts = mixture(tmp_path, [song_lines(2, 3), song_lines(4)], held_out, order=2)
    rows = []
    for sentence in held_out:
        history = ["<s>", *sentence.split(), "</s>"]
        rows += [[known(part, (before,), word) for part in parts] for before, word in pairwise(history)]
    table = np.array([row for row in rows if any(row)])
    tried = {w: math.exp(-np.log(table @ [w, 1 - w]).mean()) for w in np.linspace(0.001, 0.999, 999)}
    best = min(tried, key=tried.get)
    assert report.weights[0] == pytest.approx(best, abs=0.002)
    assert report.held_out_perplexity == pytest.approx(tried[best], rel=1e-4)


def test_mixture_of_equal_texts_is_their_model(tmp_path):
    _, _, _ = mixture(tmp_path, [song_lines(2), song_lines(2)], song_lines(3))
    assert_same_model(tmp_path / "mix.arpa", tmp_path / "0.arpa")


def test_held_out_text_without_a_known_word_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no model knows any word of the held-out text"):
        build_mixture([["a b"], ["c d"]], ["x y"], 2, tmp_path / "mix.arpa", OWN)
    assert list(tmp_path.iterdir()) == []


# ---- Binaries ----


@needs_binaries
def test_binary_is_the_same_model_with_the_same_words(tmp_path):
    sentences = song_lines(2, 3)
    for name in ("a.arpa", "a.bin"):
        build_language_model(sentences, 3, tmp_path / name, OWN)
    assert sorted(read_unigrams(tmp_path / "a.bin")) == sorted(read_unigrams(tmp_path / "a.arpa"))
    plain, binary = load_kenlm(tmp_path / "a.arpa"), load_kenlm(tmp_path / "a.bin")
    assert [binary.score(s) for s in sentences] == [plain.score(s) for s in sentences]
    plain, binary = (describe_language_model(tmp_path / name) for name in ("a.arpa", "a.bin"))
    assert (plain.kind, binary.kind, binary.counts) == ("ARPA", "probing", plain.counts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arpa", "a.bin"]


@needs_binaries
@pytest.mark.parametrize("options", [["trie"], ["-q", "8", "trie"], ["-a", "64", "-q", "8", "trie"]])
def test_other_binaries_of_kenlm_are_read(options, tmp_path):
    build_language_model(song_lines(2), 3, tmp_path / "a.arpa", OWN)
    command = [find_tool("build_binary"), *options, tmp_path / "a.arpa", tmp_path / "a.bin"]
    subprocess.run(command, check=True, capture_output=True)
    assert sorted(read_unigrams(tmp_path / "a.bin")) == sorted(read_unigrams(tmp_path / "a.arpa"))
    assert "trie" in describe_language_model(tmp_path / "a.bin").kind


@needs_binaries
def test_damaged_binaries_are_named(tmp_path):
    good, bad = tmp_path / "good.bin", tmp_path / "bad.bin"
    build_language_model(song_lines(2), 3, good, OWN)
    data = good.read_bytes()
    damaged = [data[:n] for n in (60, 100, 120, len(data) // 2, len(data) - 1, len(data) - 40)]
    damaged += [data[:88] + b"\xff" + data[89:], data[:108] + b"\xff" * 8 + data[116:], data[:50] + b"9" + data[51:]]
    for content in damaged:
        bad.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.bin: "):
            load_kenlm(bad)
    bad.write_bytes(b"mmap lm http://kheafield.com/code incomplete\n" + bytes(1000))
    with pytest.raises(ValueError, match=r"bad\.bin: this KenLM binary is incomplete"):
        read_unigrams(bad)
    build_language_model(song_lines(2), 3, tmp_path / "a.arpa", OWN)
    command = [find_tool("build_binary"), "-v", tmp_path / "a.arpa", bad]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ValueError, match=r"bad\.bin: a KenLM binary without its word list"):
        read_unigrams(bad)


@needs_binaries
def test_beam_search_reads_words_and_probabilities_of_a_binary(tmp_path):
    vocabulary = Vocabulary(("-", "|", "a", "b"), 0, 1)
    noise = torch.randn(60, 4, generator=torch.Generator().manual_seed(1)).log_softmax(dim=1)
    emissions = Emissions(noise, vocabulary, FrameGrid(320, 400, 16_000), 1.205)
    words = []
    for name in ("a.arpa", "a.bin"):
        build_language_model(["a b", "ab a", "b b a", "ba"], 2, tmp_path / name, OWN)
        words.append(BeamSearch(vocabulary, tmp_path / name, DecodingOptions()).decode(emissions))
    assert words[0] == words[1]
    assert words[0]


# ---- Programs that fail, disks that are full ----


def test_cause_of_a_failing_lmplz_is_told_and_nothing_is_left(tmp_path, monkeypatch):
    complaint = """cat >&2 <<'END'
=== 1/5 Counting and sorting n-grams ===
/k/file.cc:22 in void f(int) threw util::FDException because `ret < 1'.
No space left on device
END
kill -ABRT $$"""
    programs = stand_in(tmp_path / "bin", "lmplz", complaint)
    monkeypatch.setenv("KENLM_BIN", str(programs))
    out = tmp_path / "out" / "a.arpa"
    with pytest.raises(ValueError, match=r"^lmplz failed with signal 6: No space left on device$"):
        build_language_model(["a b c"] * 100_000, 2, out)
    assert list(out.parent.iterdir()) == []


def test_text_that_cannot_be_read_ends_lmplz(tmp_path, monkeypatch):
    monkeypatch.setenv("KENLM_BIN", str(stand_in(tmp_path / "bin", "lmplz", "exec cat > /dev/null")))

    def sentences():
        yield "a b c"
        raise PermissionError("a.txt")

    with pytest.raises(PermissionError, match=r"a\.txt"):
        build_language_model(sentences(), 2, tmp_path / "out" / "a.arpa")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["a.arpa", "a.arpa.gz", pytest.param("a.bin", marks=needs_binaries)])
@pytest.mark.parametrize("estimator", ["own", pytest.param("kenlm", marks=needs_lmplz)])
def test_full_disk_leaves_the_old_model_and_nothing_else(name, estimator, tmp_path, full_disk):
    (tmp_path / name).write_text("old")
    with pytest.raises(OutputError, match="No space left on device"):
        build_language_model(["a b", "b c"], 2, tmp_path / name, BuildOptions(estimator=estimator))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


@pytest.mark.parametrize("name", ["a.bin", "a.arpa"])
def test_missing_programs_are_named_with_the_remedy(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.delenv("KENLM_BIN", raising=False)
    if find_tool("lmplz") is not None:
        pytest.skip("KenLM's programs are part of the system")
    with pytest.raises(ValueError, match=r"(build_binary|lmplz), which is not installed; .*KENLM_BIN, or "):
        build_language_model(["a b"], 2, tmp_path / name, BuildOptions(estimator="kenlm"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune": (0, 2, 1)}, "--prune 0 2 1: thresholds must be at least 0 and must not decrease"),
        ({"prune": (-1,)}, "--prune -1"),
        ({"vocabulary": ()}, "the vocabulary is empty"),
        ({"estimator": "srilm"}, "'srilm' is unknown; choose one of auto, kenlm, own"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        BuildOptions(**options)


# ---- Perplexity ----


def test_perplexity_worked_by_hand(tmp_path):
    # p(a | <s>) = 0.6, p(b | a) = 0.35, p(</s> | b) = 0.65, <unk> 0.1 after a's backoff 0.5 (see the tiny corpus).
    build_language_model(["a b", "a c"], 2, tmp_path / "a.arpa", OWN)
    fit = measure_perplexity(load_kenlm(tmp_path / "a.arpa"), ["a b", "", "a zebra"])
    known_words = 0.6 * 0.35 * 0.65 * 0.6 * 0.3
    assert (fit.sentences, fit.tokens, fit.oov_words, fit.oov_rate) == (2, 6, 1, 0.25)
    assert fit.with_oov == pytest.approx((known_words * 0.5 * 0.1) ** (-1 / 6), rel=1e-4)
    assert fit.without_oov == pytest.approx(known_words ** (-1 / 5), rel=1e-4)


@pytest.mark.skipif(find_tool("query") is None, reason="KenLM's query is neither on PATH nor in KENLM_BIN")
def test_perplexity_is_that_of_kenlms_query(tmp_path):
    build_language_model(song_lines(2, 3), 3, tmp_path / "a.arpa", OWN)
    text = song_lines(4)
    fit = measure_perplexity(load_kenlm(tmp_path / "a.arpa"), text)
    command = [find_tool("query"), "-v", "summary", tmp_path / "a.arpa"]
    told = subprocess.run(command, input="\n".join(text) + "\n", capture_output=True, text=True, check=True).stdout
    figures = [float(line.split(":")[1]) for line in told.splitlines() if ":" in line]
    assert figures[:4] == pytest.approx([fit.with_oov, fit.without_oov, fit.oov_words, fit.tokens], rel=1e-5)


# ---- Texts ----


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_streamed_lyrics_are_those_read_whole(encoding, newline, tmp_path):
    text = (
        "[Chorus]\nDon’t stop, café\n\n  two\u2028three \x85four\n" if encoding != "cp1252" else "Don’t\n\n [x]\ncafé\n"
    )
    path = tmp_path / "a.txt"
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    assert list(stream_lyrics(path)) == [line.text for line in read_corpus_lyrics(path).lines]


@pytest.mark.parametrize(
    ("content", "message"), [(b"[x]\n \n", "empty"), (b"\0\1", "not a text file"), (None, "folder")]
)
def test_texts_that_are_no_lyrics_are_named(content, message, tmp_path):
    path = tmp_path / "a.txt"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.txt: .*{message}"):
        list(stream_lyrics(path))


def test_vocabulary_files(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("one two\nthree\n")
    assert read_vocabulary(path) == {"one", "two", "three"}
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"words\.txt: is not UTF-8"):
        read_vocabulary(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"words\.txt: the word list is empty"):
        read_vocabulary(path)


def test_sentences_can_be_gone_over_twice(tmp_path):
    (tmp_path / "b.txt").write_text("Two 2")
    (tmp_path / "a.txt").write_text("One\n[x]\n")
    sentences = Sentences.of([tmp_path], "en")
    assert list(sentences) == list(sentences) == ["one", "two two"]
    assert most_frequent_words(sentences, 1) == {"two"}


# ---- Command line ----


def test_build_mixture_and_info_on_the_command_line(tmp_path, capsys):
    for name, numbers in (("a", (2, 3)), ("b", (4,)), ("held out", (5,))):
        (tmp_path / f"{name}.txt").write_text("\n".join(song_lines(*numbers)))
    a, b, held_out, out = (str(tmp_path / name) for name in ("a.txt", "b.txt", "held out.txt", "m.arpa.gz"))
    build = ["lm", "build", a, b, "-o", out, "--held-out", held_out, "--prune", "0", "0", "1", "--max-vocab", "200"]
    assert main([*build, "--order", "3", "--estimator", "own"]) == 0
    assert "weight 0." in capsys.readouterr().err
    assert main(["lm", "info", out, "--text", held_out]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    fit = measure_perplexity(load_kenlm(tmp_path / "m.arpa.gz"), song_lines(5))
    assert told["order"] == "3"
    assert told["1-grams"] == "203"
    assert told["perplexity"] == f"{fit.with_oov:.2f} with unknown words, {fit.without_oov:.2f} without"


def test_info_counts_the_words_that_a_model_can_spell(tiny_model_folder, tmp_path, capsys):
    path = tmp_path / "mixed.arpa"
    build_language_model(["ONE Two любовь"], 2, path)
    assert main(["lm", "info", str(path), "--model", str(tiny_model_folder)]) == 0
    assert f"spelled words  2 of 3 (66.67%) with the letters of {tiny_model_folder}\n" in capsys.readouterr().out


def test_held_out_text_needs_several_texts(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("one")
    text = str(tmp_path / "a.txt")
    assert main(["lm", "build", text, "-o", str(tmp_path / "m.arpa"), "--held-out", text]) == 2
    assert "give two or more" in capsys.readouterr().err
