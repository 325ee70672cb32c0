import pytest

from lyrics_asr.lyrics.text import read_lyrics

RUSSIAN = "Снег идёт, снег идёт\nК белым звёздочкам в буране"
POLISH = "Zażółć gęślą jaźń\nMiłość jest jak wiatr\nŚpiewam dla ciebie"
ENGLISH = "The snow is falling down\nand we are walking home\n" * 6


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "windows-1251"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp866"),
        (RUSSIAN, "iso-8859-5"),
        ("Боже правде, ти што спасе\nод пропасти досад нас", "iso-8859-5"),
        (f"Снег идёт\n{ENGLISH}", "cp866"),
        (f"Снег идёт\n{ENGLISH}", "windows-1251"),
        ("君が代は\n千代に八千代に\nさざれ石の", "shift_jis"),
        (f"さくら さくら\n{ENGLISH}", "shift_jis"),
        ("君が代は\n千代に八千代に", "euc_jp"),
        ("사랑해 너를\n기억해 나를", "euc_kr"),
        ("月亮代表我的心\n你问我爱你有多深", "gb18030"),
        ("Σ' αγαπώ γιατί είσαι ωραία", "windows-1253"),
        (POLISH, "windows-1250"),
        (POLISH, "iso-8859-2"),
        ("Kde domov můj, kde domov můj?\nVoda hučí po lučinách", "iso-8859-2"),
        ("Lijepa naša domovino\nOj junačka zemljo mila", "iso-8859-2"),
        ("Où est la clé ?\nÇa va, señor", "windows-1252"),
        ("Où est la clé ?\nÇa va, señor", "latin-1"),
        ("Straße über Flüsse\nschöne Mädchen", "windows-1252"),
        (ENGLISH + "Don’t go to the café", "windows-1252"),
        (RUSSIAN, "utf-16-le"),
        (ENGLISH, "utf-16-be"),
    ],
)
def test_guessed_encodings_are_told(tmp_path, text, encoding):
    path = tmp_path / "song.txt"
    path.write_bytes(text.encode(encoding))
    lyrics = read_lyrics(path)
    assert lyrics.text == text
    (note,) = lyrics.notes
    assert note.startswith("read as ")
    assert "guessed; --encoding" in note


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_certain_encodings_need_no_note(tmp_path, encoding):
    path = tmp_path / "song.txt"
    path.write_bytes(RUSSIAN.encode(encoding))
    lyrics = read_lyrics(path)
    assert lyrics.text == RUSSIAN
    assert lyrics.notes == ()


def test_a_bad_byte_leaves_the_rest_alone(tmp_path):
    path = tmp_path / "song.txt"
    path.write_bytes("Don’t go to the café\n".encode() + b"for\xe9ver\nna" + "ïve".encode())
    lyrics = read_lyrics(path)
    assert lyrics.text == "Don’t go to the café\nforéver\nnaïve"
    assert lyrics.notes == ("line 2: 1 bad byte in UTF-8, read as 'é' (--encoding names another encoding)",)


def test_a_given_encoding_is_used(tmp_path):
    path = tmp_path / "song.txt"
    path.write_bytes("ДЦ".encode("cp866"))
    lyrics = read_lyrics(path, encoding="cp866")
    assert lyrics.text == "ДЦ"
    assert lyrics.notes == ()
    with pytest.raises(ValueError, match=r"song\.txt: unknown encoding 'utf-9'; use utf-8"):
        read_lyrics(path, encoding="utf-9")
    with pytest.raises(ValueError, match=r"song\.txt: is not ascii .*; leave out --encoding"):
        read_lyrics(path, encoding="ascii")
