"""Sample cards of every family, as facts of the makers' manuals give them: names and sizes, no media.

make(folder, KIND) makes one; CARDS says what mediafs must find there.
"""
import contextlib
import os
import pathlib

# kind: names, what is to be found. A name may end with =BYTES (10 by default), or with / (a folder).
CARDS = {
    "arri": {
        "names": ["A004R1JL/A004C010_20100610_R1JL.mov=99", "A004R1JL/A004C011_261128_R1JL.mxf",
                  "A004R1JL/A004R1JL_FCP.xml", "A004R1JL/A004R1JL.ale"],
        "family": "arri", "reel": "A004R1JL", "camera": "A",
        "clips": {"A004C010_20100610_R1JL": 1, "A004C011_261128_R1JL": 1}},
    "arri-frames": {
        "names": [f"ARI/A003R2EC/A003C002_261128_R2EC/A003C002_261128_R2EC.{number:07}.ari"
                  for number in range(1000, 1040)]
        + ["ARI/A003R2EC/A003C002_261128_R2EC/A003C002_261128_R2EC.wav"],
        "family": "arri-frames", "reel": "A003R2EC", "camera": "A",
        "clips": {"A003C002_261128_R2EC": 41}},
    "arri-35": {
        "names": ["A_0001_1DVA/A_0001C001_240715_155424_p1DVA.mxf",
                  "A_0001_1DVA/A_0001C002_260930_084650_p1DVA.mxf"],
        "family": "arri-35", "reel": "A_0001_1DVA", "camera": "A",
        "clips": {"A_0001C001_240715_155424_p1DVA": 1, "A_0001C002_260930_084650_p1DVA": 1}},
    "red": {
        "names": ["A001_1204BG.RDM/A001_C001_12046M.RDC/A001_C001_12046M_001.R3D=4000",
                  "A001_1204BG.RDM/A001_C001_12046M.RDC/A001_C001_12046M_002.R3D",
                  "A001_1204BG.RDM/A001_C001_12046M.RDC/A001_C001_12046M.RMD",
                  "A001_1204BG.RDM/A001_C002_1204X1.RDC/A001_C002_1204X1_001.R3D"],
        "family": "red", "reel": "A001", "camera": "A",
        "clips": {"A001_C001_12046M": 3, "A001_C002_1204X1": 1}},
    "sony-xavc": {
        "names": ["XDROOT/Clip/A247C001_260812AB.MXF", "XDROOT/Clip/A247C001_260812ABM01.XML",
                  "XDROOT/Clip/A247C001_260812ABM02.KLV", "XDROOT/Sub/A247C001_260812ABS03.MP4",
                  "XDROOT/MEDIAPRO.XML", "XDROOT/DISCMETA.XML", "XDROOT/CUEUP.XML",
                  "XDROOT/Edit/", "XDROOT/General/", "XDROOT/UserData/"],
        "family": "sony-xavc", "reel": "A247", "camera": "A", "clips": {"A247C001_260812AB": 4}},
    "sony-xavc-private": {
        "names": ["PRIVATE/XDROOT/Clip/C0001.MXF", "PRIVATE/XDROOT/Clip/C0001M01.XML",
                  "PRIVATE/XDROOT/MEDIAPRO.XML"],
        "family": "sony-xavc", "reel": "FX9_CARD", "camera": None, "clips": {"C0001": 2}},
    "sony-xavc-s": {
        "names": ["PRIVATE/M4ROOT/CLIP/C0001.MP4", "PRIVATE/M4ROOT/CLIP/C0001M01.XML",
                  "PRIVATE/M4ROOT/SUB/C0001S03.MP4", "PRIVATE/M4ROOT/THMBNL/C0001T01.JPG",
                  "PRIVATE/M4ROOT/MEDIAPRO.XML"],
        "family": "sony-xavc-s", "reel": "FX9_CARD", "camera": None, "clips": {"C0001": 4}},
    "sony-xavc-s-cfexpress": {
        "names": ["M4ROOT/CLIP/B002C003_261128QZ.MP4", "M4ROOT/CLIP/B002C003_261128QZM01.XML"],
        "family": "sony-xavc-s", "reel": "B002", "camera": "B", "clips": {"B002C003_261128QZ": 2}},
    "sony-ex": {
        "names": ["BPAV/CLPR/709_0001_01/709_0001_01.MP4", "BPAV/CLPR/709_0001_01/709_0001_01.SMI",
                  "BPAV/CLPR/709_0001_01/709_0001_01M01.XML", "BPAV/MEDIAPRO.XML"],
        "family": "sony-ex", "reel": "FX9_CARD", "camera": None, "clips": {"709_0001_01": 3}},
    "canon-xf": {
        "names": ["CONTENTS/CLIPS001/INDEX.MIF", "CONTENTS/CLIPS001/AA0001/AA000101.MXF=2000",
                  "CONTENTS/CLIPS001/AA0001/AA000102.MXF", "CONTENTS/CLIPS001/AA0001/AA000101.SIF",
                  "CONTENTS/CLIPS001/AA0001/AA000102.SIF", "CONTENTS/CLIPS001/AA0001/AA0001.CIF",
                  "CONTENTS/CLIPS001/AA0001/AA0001.XML", "CONTENTS/CLIPS001/AA0001/AA0001.CPF"],
        "family": "canon-xf", "reel": "FX9_CARD", "camera": None, "clips": {"AA0001": 7}},
    "canon-cinema": {
        "names": ["CONTENTS/CLIPS001/A_0001C001A260204_113406T5_CANON_S001.MXF",
                  "CONTENTS/CLIPS001/A_0001C001A260204_113406T5_CANON_S002.MXF",
                  "CONTENTS/CLIPS001/A_0001C001A260204_113406T5_CANON_Proxy.MP4"],
        "family": "canon-cinema", "reel": "A_0001", "camera": "A",
        "clips": {"A_0001C001A260204_113406T5_CANON": 3}},
    "canon-crm": {
        "names": ["CRM/A001C001_261128AB_CANON.CRM", "CRM/A001C001_261128AB_CANON.CPF"],
        "family": "canon-cinema", "reel": "A001", "camera": "A",
        "clips": {"A001C001_261128AB_CANON": 2}},
    "panasonic-p2": {
        "names": ["CONTENTS/VIDEO/0013MM.MXF", "CONTENTS/AUDIO/0013MM00.MXF",
                  "CONTENTS/AUDIO/0013MM01.MXF", "CONTENTS/CLIP/0013MM.XML",
                  "CONTENTS/ICON/0013MM.BMP", "CONTENTS/PROXY/", "CONTENTS/VOICE/0013MM00.WAV",
                  "LASTCLIP.TXT"],
        "family": "panasonic-p2", "reel": "FX9_CARD", "camera": None, "clips": {"0013MM": 6}},
    "panasonic": {
        "names": ["PRIVATE/PANA_GRP/001YAQAM/A001C001_261128_K3XQ.MOV",
                  "PRIVATE/PANA_GRP/001YAQAM/A001C001_261128_K3XQ.XML"],
        "family": "panasonic", "reel": "A001", "camera": "A", "clips": {"A001C001_261128_K3XQ": 1}},
    "blackmagic": {
        "names": ["A001_08151512_C001.braw", "A001_08151512_C001.sidecar",
                  "A001_08151512_C001.braw2", "Proxy/A001_08151512_C001.mp4"],
        "family": "blackmagic", "reel": "A001", "camera": "A", "clips": {"A001_08151512_C001": 4}},
    "blackmagic-dng": {
        "names": [f"BMC01_1_2012-08-08_1631_C0002/BMC01_1_2012-08-08_1631_C0002_{number:06}.dng"
                  for number in range(30)]
        + ["BMC01_1_2012-08-08_1631_C0002/BMC01_1_2012-08-08_1631_C0002.wav"],
        "family": "blackmagic-dng", "reel": "BMC01_1", "camera": None,
        "clips": {"BMC01_1_2012-08-08_1631_C0002": 31}},
    "gopro": {
        "names": ["DCIM/100GOPRO/GX010001.MP4=4000", "DCIM/100GOPRO/GX020001.MP4",
                  "DCIM/100GOPRO/GL010001.LRV", "DCIM/100GOPRO/GX010001.THM",
                  "DCIM/100GOPRO/GOPR0002.MP4", "DCIM/100GOPRO/GP010002.MP4", "MISC/version.txt"],
        "family": "gopro", "reel": "FX9_CARD", "camera": None, "clips": {"0001": 4, "0002": 2}},
    "dji": {
        "names": ["DCIM/100MEDIA/DJI_0001.MP4", "DCIM/100MEDIA/DJI_0001.SRT",
                  "DCIM/101MEDIA/DJI_0001.MP4"],
        "family": "dji", "reel": "FX9_CARD", "camera": None, "clips": {"DJI_0001": 3}},
    "dji-date": {
        "names": ["DCIM/DJI_001/DJI_20230101120000_0001_D.MP4",
                  "DCIM/DJI_001/DJI_20230101120000_0001_D.LRF",
                  "DCIM/DJI_001/DJI_20230101120000_0001_D.SRT"],
        "family": "dji", "reel": "FX9_CARD", "camera": None,
        "clips": {"DJI_20230101120000_0001_D": 3}},
    "sound-poly": {
        "names": ["SOUNDDEV/settings.dat", "FALSETAKES/25Y01M15/S01T01.WAV",
                  "25Y01M15/S01T02.WAV", "25Y01M15/12A-T003.WAV"],
        "family": "sound-devices", "reel": "25Y01M15", "camera": None,
        "clips": {"S01T02": 1, "12A-T003": 1}},
    "sound-mono": {
        "names": ["25Y01M15/S01T01_1.WAV", "25Y01M15/S01T01_2.WAV", "25Y01M15/S01T01_A.WAV"],
        "family": "sound-devices", "reel": "25Y01M15", "camera": None, "clips": {"S01T01": 3}},
    "sound": {
        "names": ["ZOOM0001_Tr1.WAV", "ZOOM0001_Tr2.WAV", "ZOOM0001_LR.WAV"],
        "family": "sound", "reel": "FX9_CARD", "camera": None, "clips": {"ZOOM0001": 3}},
}

# What looks like one of them, and is none.
NO_CARDS = {
    "empty folder": [],
    "empty files": ["notes.txt=0"],
    "roll folder without clips": ["A004R1JL/notes.txt"],
    "arri name in a folder of another name": ["edits/A004C010_261128_R1JL.mov"],
    "red clip outside": ["A001_1204BG.RDC/readme.txt", "A001_1204BG.RDMX/x.R3D"],
    "xdroot as a file": ["XDROOT"],
    "xdroot deep in a project": ["show/day1/cards/XDROOT/Clip/C0001.MXF"],
    "sony names without a card": ["C0001.MP4", "C0001M01.XML"],
    "contents of something else": ["CONTENTS/chapter1.txt", "CONTENTS/CLIPPINGS/a.jpg"],
    "photos": ["DCIM/100CANON/IMG_0001.JPG", "DCIM/100CANON/MVI_0002.MOV"],
    "a phone": ["DCIM/100MEDIA/IMAG0001.jpg", "DCIM/Camera/20261128_120000.mp4"],
    "music": ["Album/01 Song.wav", "Album/02 Other.wav", "Album/03 S01T01.WAV.txt"],
    "few takes among much else": ["S01T01.WAV"] + [f"doc{number}.pdf" for number in range(3)],
    "braw among edits": ["edit.drp", "cut.mov", "a/b/c.braw", "lut.cube"],
    "only junk": [".DS_Store", "._C0001.MXF", ".Spotlight-V100/XDROOT/Clip/x.MXF"],
}


def add(top, names):
    """Make @names below @top."""
    for text in names:
        name, _, size = text.partition("=")
        path = pathlib.Path(top) / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((name.encode() * 400)[:int(size)] if size else name.encode()[:10])


def add_late(top, name, data):
    """A clip for a sony-xavc card, with what it cannot do without, and its own time: both files."""
    folder = pathlib.Path(top) / "XDROOT/Clip"
    files = folder / f"{name}M01.XML", folder / f"{name}.MXF"
    with contextlib.ExitStack() as both:  # of one generation: none is written while one is open
        for path, bytes_ in zip(files, (b"<clip/>", data)):
            file = both.enter_context(open(path, "wb"))
            file.write(bytes_)
            file.flush()
            os.utime(file.fileno(), (10**9, 10**9))
    return files


def make(top, kind):
    """One sample card in the folder @top."""
    pathlib.Path(top).mkdir(parents=True)
    add(top, CARDS[kind]["names"])
    return pathlib.Path(top)
