"""Small media files of the kinds that cameras and recorders write, made by ffmpeg and by hand."""
import shutil
import struct

import pytest

from lib import run

PICTURES = {
    # ffmpeg's words after the source; what mediafs-probe must say of the file.
    "a.mov": (["-i", "testsrc=s=320x180:r=24000/1001:d=2", "-c:v", "prores_ks", "-profile:v", "3",
               "-timecode", "14:22:10:05", "-metadata:s:v", "reel_name=A001R2EC",
               "-metadata", "make=ARRI", "-metadata", "model=Mini",
               "-movflags", "use_metadata_tags"],
              {"format": "mov", "timecode": "14:22:10:05", "fps": "24000/1001", "frames": 48,
               "width": 320, "height": 180, "codec": "ProRes 422 HQ", "reel": "A001R2EC",
               "camera": "ARRI Mini"}),
    "b.mxf": (["-i", "testsrc=s=1920x1080:r=25:d=0.4", "-c:v", "mpeg2video", "-pix_fmt", "yuv422p",
               "-timecode", "10:00:00:00", "-metadata", "reel_name=A002"],
              {"format": "mxf", "timecode": "10:00:00:00", "fps": "25/1", "frames": 10,
               "width": 1920, "height": 1080, "codec": "mpeg2video", "reel": "A002",
               "camera": "FFmpeg OP1a Muxer"}),
    "c.mp4": (["-i", "testsrc=s=320x180:r=30000/1001:d=2", "-f", "lavfi", "-i", "sine=d=2",
               "-c:v", "libx264", "-c:a", "aac", "-timecode", "01:00:00;02"],
              {"format": "mp4", "timecode": "01:00:00;02", "fps": "30000/1001", "frames": 60,
               "width": 320, "height": 180, "codec": "h264", "audio_channels": 1,
               "audio_rate": 44100}),
    "d.ts": (["-i", "testsrc=s=320x180:r=25:d=2", "-c:v", "libx264"],
             {"format": "mpegts", "fps": "25/1", "frames": 50, "width": 320, "height": 180,
              "codec": "h264"}),
    "e.dpx": (["-i", "testsrc=s=320x180:r=25:d=0.04", "-frames:v", "1"],
              {"format": "dpx_pipe", "width": 320, "height": 180, "codec": "dpx"}),
}

IXML = """<?xml version="1.0" encoding="UTF-8"?>
<BWFXML><IXML_VERSION>2.10</IXML_VERSION><PROJECT>Film &amp; more</PROJECT><SCENE>12A</SCENE>
<TAKE>3</TAKE><TAPE>26Y11M28</TAPE><CIRCLED>TRUE</CIRCLED><NOTE>plane</NOTE>
<SPEED><TIMECODE_RATE>24000/1001</TIMECODE_RATE><TIMECODE_FLAG>NDF</TIMECODE_FLAG></SPEED>
<TRACK_LIST><TRACK_COUNT>2</TRACK_COUNT>
<TRACK><CHANNEL_INDEX>1</CHANNEL_INDEX><NAME>Boom</NAME></TRACK>
<TRACK><CHANNEL_INDEX>2</CHANNEL_INDEX><NAME>Lav Ann</NAME></TRACK></TRACK_LIST></BWFXML>
"""
# 14:22:10:05 of 24 frames a second at 23.976: frame 1 241 525.
SAMPLES_SINCE_MIDNIGHT = 1241525 * 48000 * 1001 // 24000 + 100
SOUND = {"format": "wav", "audio_channels": 2, "audio_rate": 48000, "audio_bits": 24,
         "samples": 4800, "project": "Film & more", "scene": "12A", "take": "3",
         "reel": "26Y11M28", "circled": True, "note": "plane", "fps": "24000/1001",
         "tracks": ["Boom", "Lav Ann"], "camera": "mixer", "date": "2026-11-28",
         "timecode": "14:22:10:05"}


def wav(ixml=IXML, samples=4800, more=0):
    """A poly file of two channels with bext and, behind the sound, iXML; then @more bytes of junk."""
    def chunk(name, data):
        return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    bext = struct.pack("<256s32s32s10s8sQH64s190s", b"", b"mixer", b"", b"2026-11-28", b"14:22:10",
                       SAMPLES_SINCE_MIDNIGHT, 1, b"", b"")
    body = (b"WAVE" + chunk(b"bext", bext)
            + chunk(b"fmt ", struct.pack("<HHIIHH", 1, 2, 48000, 288000, 6, 24))
            + chunk(b"data", bytes(range(48)) * (samples // 8)) + chunk(b"iXML", ixml.encode())
            + (chunk(b"junk", bytes(more)) if more else b""))
    return b"RIFF" + struct.pack("<I", len(body)) + body


SONY = """<?xml version="1.0" encoding="UTF-8"?>
<NonRealTimeMeta xmlns="urn:schemas-professionalDisc:nonRealTimeMeta:ver.2.20">
<Duration value="390"/><LtcChangeTable tcFps="30" halfStep="false">
<LtcChange frameCount="0" value="67212901" status="increment"/></LtcChangeTable>
<VideoFormat><VideoFrame videoCodec="AVC_3840_2160_HP@L51" formatFps="29.97p"/></VideoFormat>
<Device manufacturer="Sony" modelName="ILCE-6700" serialNo="7"/></NonRealTimeMeta>
"""
SIDECAR = {"format": "xml", "frames": 390, "timecode": "01:29:21;27", "fps": "30000/1001",
           "codec": "AVC_3840_2160_HP@L51", "camera": "Sony ILCE-6700 (7)"}


def make(folder, names=tuple(PICTURES)):
    """One file of each kind in @folder; {name: what is to be said of it}."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    expected = {}
    for name in names:
        words, fields = PICTURES[name]
        run("ffmpeg", "-v", "error", "-y", "-f", "lavfi", *words, folder / name)
        expected[name] = fields
    (folder / "s.wav").write_bytes(wav())
    (folder / "m.xml").write_text(SONY)
    return expected | {"s.wav": SOUND, "m.xml": SIDECAR}
