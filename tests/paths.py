"""Folders that tests read: those of the checkout, and real corpora beside it or where the environment names them."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
DEMO = ROOT / "data" / "demo"
LYRICS = ROOT / "data" / "lyrics"

JAMENDO = Path(os.environ.get("LYRICS_ASR_JAMENDO", ROOT.parent / "shared" / "jamendolyrics"))
DALI = Path(os.environ.get("LYRICS_ASR_DALI", ROOT.parent / "shared" / "dali"))
