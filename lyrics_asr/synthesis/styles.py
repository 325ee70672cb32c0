"""Musical styles of synthetic songs: instruments and rhythm patterns.

A pattern has one character per step: 16 steps per bar in 4/4, 12 in 3/4 and in 6/8 (two beats of six steps). `x` is
loud, `o` soft, `.` silent. In bass patterns, `r` is the root, `t` the third, `f` the fifth and `u` the octave.
"""

from dataclasses import dataclass

STEPS_OF_FOUR = 16  # steps per bar in 4/4
Groove = dict[str, str]  # piece of a drum kit: pattern

GROOVES: dict[str, tuple[Groove, ...]] = {
    "rock": (
        {"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.o."},
        {"kick": "x.....x...x.....", "snare": "....x..o.o..x...", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "x..x....x.x..x..", "snare": "....x.......x..o", "ride": "x...x...x...x..."},
    ),
    "pop": (
        {"kick": "x.....x.x.......", "snare": "....x.......x...", "hat": "xoxoxoxoxoxoxoxo"},
        {"kick": "x...x...x...x...", "clap": "....x.......x...", "shaker": "o.xoo.xoo.xoo.xo"},
        {"kick": "x......xx.......", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.oo"},
    ),
    "hip_hop": (
        {"kick": "x.....x..x......", "snare": "....x.......x...", "hat": "x.x.x.x.x.xxx.x."},
        {"kick": "x..x......x.....", "clap": "....x.......x...", "hat": "x.xox.xxx.xox.oo"},
        {"kick": "x.........xx....", "snare": "........x.......", "hat": "xoxxxoxoxxxoxoxx"},
    ),
    "reggae": (
        {"kick": "........x.......", "stick": "........x.......", "hat": "x.o.x.o.x.o.x.o."},
        {"kick": "x...x...x...x...", "stick": "........x.......", "hat": "..x...x...x...x."},
        {"kick": "x.......x.......", "snare": "....x.......x..o", "hat": "..x...x...x...x."},
    ),
    "latin": (
        {
            "stick": "x..x..x...x.x...",
            "conga": "..x...xx..x...xx",
            "low_conga": "......o.......x.",
            "shaker": "xoxoxoxoxoxoxoxo",
        },
        {"kick": "x..x..x.x..x..x.", "snare": "...x..x....x..x.", "shaker": "x.oox.oox.oox.oo"},
        {
            "kick": "x...x...x...x...",
            "cowbell": "x.x..x.xx.x..x.x",
            "conga": "o.x.o.xxo.x.o.xx",
            "tom": "..............x.",
        },
    ),
    "disco": (
        {
            "kick": "x...x...x...x...",
            "snare": "....x.......x...",
            "open": "..x...x...x...x.",
            "hat": "x.o.x.o.x.o.x.o.",
        },
        {
            "kick": "x...x...x...x...",
            "clap": "....x.......x...",
            "open": "..o...o...o...o.",
            "shaker": "xoxoxoxoxoxoxoxo",
        },
    ),
    "electronic": (
        {"kick": "x...x...x...x...", "hat": "..x...x...x...x.", "clap": "....x.......x...", "ride": "..o...o...o...o."},
        {"kick": "x.........x.....", "snare": "....x.......x...", "hat": "x.xoxxoxx.xoxxoo"},
        {"kick": "x..x..x...x.....", "clap": "........x.......", "hat": "xxxxxxxxxxxxxxxx"},
    ),
    "metal": (
        {
            "kick": "xxxxxxxxxxxxxxxx",
            "snare": "....x.......x...",
            "crash": "x...............",
            "ride": "x...x...x...x...",
        },
        {"kick": "x.x.x.x.x.x.x.x.", "snare": "..x...x...x...x.", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "x..xx..xx..xx...", "snare": "........x.......", "open": "x...x...x...x..."},
    ),
    "jazz": (
        {
            "ride": "x...x.x.x...x.x.",
            "hat": "....x.......x...",
            "kick": "o.........o.....",
            "snare": "......o.......o.",
        },
        {"swish": "x...x...x...x...", "ride": "x...x.o.x...x.o.", "kick": "o.......o......."},
    ),
    "funk": (
        {"kick": "x..x....x.x..x..", "snare": "....x..o.o..x..o", "hat": "xoxxxoxxxoxxxoxx"},
        {"kick": "x.....x...x..x..", "snare": ".o..x..o.o..x...", "hat": "x.x.x.xxx.x.x.x."},
    ),
    "march": (
        {"kick": "x.......x.......", "snare": "x.xxx.x.x.xxx.xo"},
        {"low_tom": "x.......x.......", "clap": "....x.......x...", "stick": "....o.......o..."},
    ),
}
THREE_FOUR: tuple[Groove, ...] = (
    {"kick": "x...........", "snare": "....o...o...", "hat": "x...x...x..."},
    {"kick": "x.....x.....", "stick": "....x...x...", "shaker": "xoxoxoxoxoxo"},
    {"low_tom": "x...........", "swish": "....x...x...", "ride": "x...x.o.x..."},
)
SIX_EIGHT: tuple[Groove, ...] = (
    {"kick": "x...........", "snare": "......x.....", "hat": "x.x.x.x.x.x."},
    {"kick": "x.....o...x.", "snare": "......x.....", "ride": "x.o.o.x.o.o."},
    {"kick": "x...x.......", "clap": "......x.....", "shaker": "xoxoxoxoxoxo"},
)
CHORDS: dict[str, tuple[str, ...]] = {
    "held": ("x...............", "x.......x.......", "x...........x..."),
    "driving": ("x.x.x.x.x.x.x.x.", "x.xxx.xxx.xxx.xx", "xxxxxxxxxxxxxxxx"),
    "strummed": ("x...x.xo..xox.xo", "x..ox.xox..ox.xo", "x.x.x.xox.x.x.xo", "x...x...x...x..."),
    "offbeat": ("..x...x...x...x.", "....x.......x...", "..xo..xo..xo..xo"),
    "syncopated": ("x..x..x...x.....", "x.....x...x..x..", "...x..x....x..x.", "x..x..x.x..x..x."),
}
THREE_FOUR_CHORDS = ("....x...x...", "x...x...x...", "x...........", "x.x.x.x.x.x.", "x.....x.x...")
SIX_EIGHT_CHORDS = ("x.....x.....", "x.x.x.x.x.x.", "x...x.x...x.", "x...........")
BASS: dict[str, tuple[str, ...]] = {
    "steady": ("r.r.r.r.r.r.r.r.", "r...r...r...r...", "r.......r.......", "r.......f......."),
    "moving": ("r.....r.f.....f.", "r..r..f...f.r...", "r...t...f...u...", "r..r....r.f.u..."),
    "walking": ("r...t...f...t...", "r...f...u...f...", "u...f...t...r..."),
    "octaves": ("r.u.r.u.r.u.r.u.", "..r...r...r...r.", "r..u..r.r..u..r."),
    "sub": ("r...............", "r.........r.....", "r..r......r....."),
}
THREE_FOUR_BASS = ("r...........", "r.......f...", "r...t...f...")
SIX_EIGHT_BASS = ("r.....f.....", "r...r.r...r.", "r.....r.....")


@dataclass(frozen=True)
class Style:
    """A style of music.

    Args:
        kits: possible drum kits (`drums.KITS`); empty for no drums.
        groove: pattern of the drums, a key of `GROOVES`.
        chords: pattern of chord instruments, a key of `CHORDS`.
        bass: pattern of the bass, a key of `BASS`; "" for no bass.
        players: probability of each instrument (see `band`).
        beats_per_minute: lowest and highest tempo.
        swing: probability of swing.
        threes: probability of 3/4 or 6/8 time.
        effects: probability of a noise effect: risers, vinyl, crowd or hiss.
    """

    kits: tuple[str, ...]
    groove: str
    chords: tuple[str, ...]
    bass: str
    players: dict[str, float]
    beats_per_minute: tuple[float, float]
    swing: float = 0.0
    threes: float = 0.0
    effects: float = 0.2


# fmt: off
STYLES: dict[str, Style] = {
    "ambient": Style(("soft", "electronic"), "hip_hop", ("held",), "sub",
        {"pad": 1.0, "choir": 0.6, "keys": 0.5, "arpeggio": 0.5, "lead": 0.4, "strings": 0.4},
        (60.0, 100.0), effects=0.7),
    "ballad": Style(("acoustic", "soft"), "pop", ("held", "strummed"), "steady",
        {"keys": 0.9, "strings": 0.7, "guitar": 0.5, "choir": 0.3, "lead": 0.4, "pad": 0.4}, (60.0, 90.0), threes=0.3),
    "blues": Style(("acoustic", "brushes"), "rock", ("driving", "syncopated"), "walking",
        {"electric": 0.7, "organ": 0.5, "keys": 0.6, "lead": 0.8, "brass": 0.3}, (60.0, 130.0), swing=0.8, threes=0.2),
    "country": Style(("acoustic", "brushes"), "march", ("strummed", "offbeat"), "moving",
        {"guitar": 1.0, "arpeggio": 0.5, "keys": 0.4, "lead": 0.6, "strings": 0.3},
        (80.0, 150.0), swing=0.3, threes=0.15),
    "disco": Style(("electronic", "acoustic"), "disco", ("syncopated", "offbeat"), "octaves",
        {"muted": 0.7, "strings": 0.8, "brass": 0.4, "keys": 0.5, "choir": 0.3, "lead": 0.3},
        (105.0, 132.0), effects=0.3),
    "electronic": Style(("electronic",), "electronic", ("syncopated", "held", "offbeat"), "octaves",
        {"pad": 0.8, "synth": 0.9, "arpeggio": 0.7, "lead": 0.6, "choir": 0.2}, (100.0, 180.0), effects=0.8),
    "folk": Style(("hand", "brushes"), "march", ("strummed", "held"), "steady",
        {"guitar": 0.9, "arpeggio": 0.8, "organ": 0.3, "strings": 0.3, "lead": 0.4}, (70.0, 150.0), threes=0.35),
    "funk": Style(("acoustic",), "funk", ("syncopated", "offbeat"), "moving",
        {"muted": 0.9, "brass": 0.6, "organ": 0.5, "keys": 0.5, "lead": 0.3}, (90.0, 125.0), swing=0.2),
    "gospel": Style(("acoustic",), "pop", ("held", "driving"), "moving",
        {"organ": 1.0, "keys": 0.8, "choir": 0.8, "brass": 0.2}, (60.0, 130.0), swing=0.4, threes=0.4, effects=0.3),
    "hip_hop": Style(("electronic", "soft", "heavy"), "hip_hop", ("held", "syncopated"), "sub",
        {"keys": 0.6, "strings": 0.4, "synth": 0.5, "arpeggio": 0.4, "choir": 0.2, "lead": 0.3},
        (65.0, 110.0), swing=0.3, effects=0.7),
    "jazz": Style(("brushes", "acoustic"), "jazz", ("syncopated", "held"), "walking",
        {"keys": 1.0, "brass": 0.5, "muted": 0.3, "lead": 0.7}, (70.0, 180.0), swing=1.0, threes=0.15),
    "latin": Style(("hand", "acoustic"), "latin", ("syncopated", "offbeat"), "moving",
        {"keys": 0.7, "guitar": 0.7, "brass": 0.6, "lead": 0.4, "strings": 0.2}, (85.0, 140.0)),
    "lullaby": Style((), "", ("held",), "",
        {"keys": 0.8, "arpeggio": 0.7, "strings": 0.4, "choir": 0.3, "pad": 0.3}, (60.0, 110.0), threes=0.5),
    "metal": Style(("heavy",), "metal", ("driving",), "steady",
        {"distorted": 1.0, "chugging": 0.9, "lead": 0.7, "choir": 0.2, "strings": 0.15}, (90.0, 180.0), effects=0.3),
    "orchestral": Style(("heavy", "hand"), "march", ("held", "syncopated"), "steady",
        {"strings": 1.0, "brass": 0.7, "choir": 0.6, "keys": 0.4, "arpeggio": 0.4, "lead": 0.4},
        (60.0, 130.0), threes=0.3),
    "pop": Style(("electronic", "acoustic", "soft"), "pop", ("held", "syncopated", "strummed"), "steady",
        {"keys": 0.7, "pad": 0.6, "guitar": 0.5, "synth": 0.5, "muted": 0.3, "lead": 0.5, "choir": 0.3},
        (75.0, 140.0), effects=0.4),
    "reggae": Style(("acoustic", "hand"), "reggae", ("offbeat",), "moving",
        {"electric": 0.9, "organ": 0.8, "keys": 0.4, "brass": 0.4, "lead": 0.3}, (65.0, 100.0), swing=0.4),
    "rock": Style(("acoustic", "heavy"), "rock", ("driving", "strummed"), "steady",
        {"distorted": 0.8, "electric": 0.7, "guitar": 0.3, "organ": 0.2, "lead": 0.7, "keys": 0.2},
        (80.0, 170.0), threes=0.1),
    "solo": Style((), "", ("strummed", "held"), "",
        {"guitar": 0.6, "keys": 0.6, "arpeggio": 0.3}, (60.0, 140.0), threes=0.25),
    "soul": Style(("acoustic",), "funk", ("held", "offbeat", "syncopated"), "moving",
        {"organ": 0.6, "keys": 0.7, "brass": 0.7, "choir": 0.5, "muted": 0.4, "strings": 0.3},
        (65.0, 120.0), swing=0.3, threes=0.2),
}
# fmt: on
