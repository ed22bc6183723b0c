"""Trees that look like real cards, with real MXF, MOV, MP4 and WAV made by ffmpeg."""
import os
import shutil

import pytest

from lib import pattern, run, same_tree, wait_for

# Layouts: facts of the makers' card formats; names as the cameras write them.
LAYOUTS = {
    "arri": ["A003R2EC/A003C001_261128_R2EC.mxf", "A003R2EC/AVID.mxf"],
    "red": ["A001_1128RX.RDM/A001_C001_1128RX.RDC/A001_C001_1128RX_001.R3D",
            "A001_1128RX.RDM/A001_C001_1128RX.RDC/A001_C001_1128RX_002.R3D"],
    "sony": ["XDROOT/Clip/A001C001_261128.MXF", "XDROOT/Clip/A001C001_261128M01.XML",
             "XDROOT/MEDIAPRO.XML", "XDROOT/Sub/A001C001_261128S01.mp4"],
    "canon": ["CONTENTS/CLIPS001/A001C001_261128AB_CANON.MXF",
              "CONTENTS/CLIPS001/A001C001_261128AB_CANON.CPF"],
    "p2": ["CONTENTS/VIDEO/0001AB.MXF", "CONTENTS/AUDIO/0001AB00.MXF", "CONTENTS/CLIP/0001AB.XML"],
    "braw": ["A001_11281200_C001.braw", "A001_11281200_C001.sidecar"],
    "gopro": ["DCIM/100GOPRO/GX010001.MP4", "DCIM/100GOPRO/GX010001.THM",
              "DCIM/100GOPRO/GL010001.LRV"],
    "sound": ["26Y11M28/S01-T001.WAV", "26Y11M28/S01-T002.WAV", "SOUND_REPORTS/26Y11M28.CSV"],
}
KINDS = {".mxf": ["-c:v", "mpeg2video", "-f", "mxf"], ".mov": ["-c:v", "mjpeg", "-f", "mov"],
         ".mp4": ["-c:v", "mpeg4", "-f", "mp4"]}


@pytest.fixture(scope="module")
def masters(tmp_path_factory):
    """One real file of each kind."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    folder = tmp_path_factory.mktemp("masters")
    made = {}
    for suffix, coding in KINDS.items():
        made[suffix] = folder / f"master{suffix}"
        run("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i",
            "testsrc2=size=640x360:rate=25:duration=3", *coding, made[suffix])
    made[".wav"] = folder / "master.wav"
    run("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "sine=frequency=1000:duration=3",
        "-c:a", "pcm_s24le", made[".wav"])
    return made


def make_cards(folder, masters):
    for layout, names in LAYOUTS.items():
        for number, name in enumerate(names):
            path = folder / layout / name
            path.parent.mkdir(parents=True, exist_ok=True)
            master = masters.get(path.suffix.lower())
            if master:
                shutil.copyfile(master, path)
            elif path.suffix.upper() in (".R3D", ".BRAW", ".LRV"):
                path.write_bytes(pattern((5 << 20) + number, number))
            else:
                path.write_text(f"<sidecar of=\"{name}\"/>\n")
            taken = 1_790_000_000_000_000_000 + number * 1_040_000_000
            os.utime(path, ns=(taken, taken))
            path.chmod(0o644 if number % 2 else 0o600)
    frames = folder / "frames/A001C002"
    frames.mkdir(parents=True)
    for number in range(300):
        (frames / f"A001C002.{number:07}.ari").write_bytes(pattern(20_000, number))
    return folder


COPIERS = {
    "cp": lambda source, target: run("cp", "-a", source, target),
    "rsync": lambda source, target: run("rsync", "-a", source, target),
    "tar": lambda source, target: run("bash", "-c",
                                      f"tar -C '{source.parent}' --format=posix -cf - cards | tar -C '{target}' -xpf -"),
    "gio": lambda source, target: run("bash", "-c", f"""
        cd '{source.parent}' && find cards -type d -exec mkdir -p '{target}/{{}}' \\; &&
        find cards -type f -print0 | while IFS= read -r -d '' file; do
            gio copy --preserve "$file" "{target}/$file" || exit 1
        done"""),
}


@pytest.mark.parametrize("copier", [
    "cp", "gio", pytest.param("rsync", marks=pytest.mark.slow),
    pytest.param("tar", marks=pytest.mark.slow)])
def test_cards_arrive_whole_and_are_seen_at_editorial(pair, tmp_path, masters, copier):
    cart, editorial = pair
    cart.set("manifest.settle", "1h")  # no lists of ours among them, however long it takes
    cards = make_cards(tmp_path / "cards", masters)
    COPIERS[copier](cards, cart.mnt)
    cart.wait(state="stored", timeout=180)
    if copier != "gio":  # gio keeps neither folder modes nor nanoseconds
        same_tree(cards, cart.mnt / "cards")
    files = {path.relative_to(cards) for path in cards.rglob("*") if path.is_file()}
    seen = editorial.mnt / "cards"
    wait_for(lambda: seen.is_dir() and files <= {path.relative_to(seen) for path in
                                                 seen.rglob("*") if path.is_file()},
             "every file at editorial")
    run("diff", "-r", cards, seen)
    if copier != "gio":
        same_tree(cards, seen)


@pytest.mark.slow
def test_a_sequence_of_5000_frames(cart, tmp_path):
    frames = tmp_path / "seq"
    frames.mkdir()
    for number in range(5000):
        (frames / f"f.{number:07}.dpx").write_bytes(pattern(4096 + number % 7, number))
    run("cp", "-a", frames, cart.mnt)
    cart.wait(state="stored", timeout=300)
    same_tree(frames, cart.mnt / "seq")
    (cart.mnt / "seq").rename(cart.mnt / "renamed")
    same_tree(frames, cart.mnt / "renamed")


@pytest.mark.slow
def test_a_file_of_8_gib(plain):
    """Holes mostly, so that it fits anywhere; real bytes at the far end."""
    clip = plain.mnt / "long.mov"
    there = {place: os.urandom(999) for place in (0, (4 << 30) - 3, (8 << 30) - 1000)}
    with open(clip, "wb") as out:
        out.truncate(8 << 30)
        for place, data in there.items():
            out.seek(place)
            out.write(data)
    plain.wait("long.mov", "verified", timeout=300)
    with open(clip, "rb") as clip_file:
        for place, data in there.items():
            clip_file.seek(place)
            assert clip_file.read(999) == data
    run("cmp", clip, plain.tree / "long.mov", timeout=600)
