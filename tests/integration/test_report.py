"""mediafs report: what people and programs read, with names that mean harm."""
import csv
import html.parser
import io
import json
import os
import re
import shutil
import struct
import subprocess
import time
import zlib

import pytest

import media
from lib import BUILD, PATIENCE, Site, fsck, mediafs, run

pytestmark = pytest.mark.one_thread

# Clips on the large card; 1 000 by hand.
CLIPS = int(os.environ.get("MEDIAFS_TEST_CLIPS", "25"))
HOSTILE = ["<img src=x onerror=alert(1)>", "a&amp;b\"'c", "two\nlines\ttab", "rtl\u202egpj.exe",
           "=HYPERLINK(\"x\")", "\u05d0\u05d1\u05d2 \u05d3", "caf\u00e9", b"bad\xff\xfe".decode(
               "utf-8", "surrogateescape"), "x" * 200, "%:ff"]
SHOT = 1_795_860_000_000_000_000  # 28 November 2026, noon in Europe


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(SHOT, SHOT))


def make_day(top, masters):
    """Three ARRI cards of four, a sound card, a card with hostile names, a large one."""
    mov, mxf, mp4 = ((masters / name).read_bytes() for name in ("a.mov", "b.mxf", "c.mp4"))
    for reel in ("A001R2EC", "A002R2EC", "A004R2EC"):
        put(top / reel / f"{reel[:4]}C001_261128_R2EC.mov", mov)
        put(top / reel / f"{reel[:4]}C002_261128_R2EC.mxf", mxf)
    put(top / "26Y11M28/12A-T003.WAV", media.wav())
    put(top / "26Y11M28/12A-T004.WAV", b"RIFF\0\0")
    for name in HOSTILE:
        put(top / "B001/M4ROOT/CLIP" / f"{name}.MP4", mp4)
        put(top / "B001/M4ROOT/CLIP" / f"{name}M01.XML", media.SONY.encode())
    for number in range(CLIPS):
        put(top / "26Y11M29" / f"S{number:04}-T001.WAV",
            media.wav(media.IXML.replace("12A", f"<![CDATA[S{number}\t<b>&]]>")))


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    masters = folder / "masters"
    masters.mkdir()
    media.make(masters, ("a.mov", "b.mxf", "c.mp4"))
    tier = folder / "nas"
    tier.mkdir()
    # No histories among the files that are counted, however long the day takes.
    site = Site(folder, tier=tier, settings={"safe.offsite": "0", "safe.distinct_devices": "no",
                                             "manifest.settle": "1h"}).mount()
    try:
        make_day(site.mnt / "day1", masters)
        site.wait("day1", "stored", timeout=3 * PATIENCE)
        out = folder / "out"
        out.mkdir()
        began = time.monotonic()
        site.cmd("report", site.mnt / "day1", "--html", out / "day.html", "--csv", out / "day.csv",
                 "--ale", out / "day.ale")
        print(f"{CLIPS} clips and some: {time.monotonic() - began:.1f} s")
        yield site, out
    finally:
        site.close()


def shown(name):
    """What a list that must be UTF-8 says of a name."""
    return os.fsencode(name).decode("utf-8", "replace")


def read_csv(path):
    """RFC 4180, every field quoted; strictly."""
    data = path.read_bytes()
    assert not data.startswith(b"\xef\xbb\xbf") and data.endswith(b"\"\r\n")
    rows = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
    assert all(len(row) == len(rows[0]) for row in rows) and len(set(rows[0])) == len(rows[0])
    return [dict(zip(rows[0], row)) for row in rows[1:]]


def frames_of(text, base):
    """A timecode as frames since midnight; it must be one."""
    found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)([:;])(\d\d)", text)
    assert found, text
    hours, minutes, seconds, frames = (int(found[i]) for i in (1, 2, 3, 5))
    assert hours < 24 and minutes < 60 and seconds < 60 and frames < base, text
    total = ((hours * 60 + minutes) * 60 + seconds) * base + frames
    if found[4] == ";":
        minute = hours * 60 + minutes
        assert base == 30 and not (minutes % 10 and seconds == 0 and frames < 2), text
        total -= 2 * (minute - minute // 10)
    return total


def read_ale(path):
    """Avid's log as its manuals have it: three sections, tabs, CR LF, End behind the last frame."""
    lines = path.read_bytes().decode("utf-8").split("\r\n")
    assert lines.pop() == "" and not any("\n" in line or "\r" in line for line in lines)
    column, data = lines.index("Column"), lines.index("Data")
    assert lines[0] == "Heading" and lines[column - 1] == "" and lines[data - 1] == ""
    heading = dict(line.split("\t") for line in lines[1:column - 1])
    assert heading["FIELD_DELIM"] == "TABS" and "FPS" in heading
    assert heading["VIDEO_FORMAT"] in ("NTSC", "PAL", "720", "1080", "CUSTOM")
    assert data == column + 3
    columns = lines[column + 1].split("\t")
    assert len(columns) <= 64 and {"Name", "Tracks", "Start", "End"} <= set(columns)
    assert len(set(columns)) == len(columns) and "" not in columns
    base = round(float(heading["FPS"]))
    rows = []
    for line in lines[data + 1:]:
        cells = line.split("\t")
        assert len(cells) == len(columns), line
        row = dict(zip(columns, cells))
        assert row["Name"] and re.fullmatch(r"V?(A\d+)*", row["Tracks"])
        start, end = frames_of(row["Start"], base), frames_of(row["End"], base)
        assert end - start == frames_of(row["Duration"].replace(";", ":"), base) or ";" in row[
            "Duration"]
        rows.append(row)
    return heading, rows


def test_csv_says_what_is_known_of_each_clip(day):
    rows = read_csv(day[1] / "day.csv")
    by_name = {row["File Name"]: row for row in rows}
    row = by_name["A001C001_261128_R2EC.mov"]
    assert row["Clip Directory"] == "day1/A001R2EC" and row["Reel Name"] == "A001R2EC"
    assert (row["Start TC"], row["End TC"], row["Duration TC"]) == (
        "14:22:10:05", "14:22:12:05", "00:00:02:00")
    assert (row["Frame Rate"], row["Resolution"], row["Video Codec"]) == (
        "23.976", "320x180", "ProRes 422 HQ")
    assert row["Copies"] == "1" and row["Verified Files"] == "1" and len(row["XXH3-128"]) == 32
    sound = by_name["12A-T003.WAV"]
    assert (sound["Scene"], sound["Take"], sound["Good Take"]) == ("12A", "3", "yes")
    assert sound["Tracks"] == "Boom / Lav Ann" and sound["Start TC"] == "14:22:10:05"
    assert by_name["12A-T004.WAV"]["Not Known Because"] and not by_name["12A-T004.WAV"]["Start TC"]
    assert len(rows) == 6 + 2 + len(HOSTILE) + CLIPS
    for name in HOSTILE:
        wanted = ("'" if name[0] in "=+-@" else "") + shown(name) + ".MP4"
        assert by_name[wanted]["Camera"] == "Sony ILCE-6700 (7)"
        # What the picture says goes before its sidecar.
        assert by_name[wanted]["Start TC"] == "01:00:00;02" and by_name[wanted]["Frames"] == "60"


def test_of_two_reels_on_one_card_each_clip_has_its_own(plain, tmp_path):
    names = ["A247C001_260812AB", "B001C001_260812AB"]
    for name in names:
        put(plain.mnt / "CARD/XDROOT/Clip" / f"{name}.MXF", b"nothing")
        put(plain.mnt / "CARD/XDROOT/Clip" / f"{name}M01.XML", b"<x/>")
    plain.wait("CARD", "verified")
    plain.cmd("report", plain.mnt, "--csv", tmp_path / "x.csv", "--html", tmp_path / "x.html")
    assert [row["Reel Name"] for row in read_csv(tmp_path / "x.csv")] == ["A247", "B001"]
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert all(f"<bdi>{reel}</bdi></td>" in page for reel in ("A247", "B001"))


def test_ale_is_a_file_each_rate(day):
    files = sorted(path.name for path in day[1].glob("*.ale"))
    assert files == ["day.23.976.ale", "day.25.ale", "day.29.97.ale"]
    heading, rows = read_ale(day[1] / "day.23.976.ale")
    assert heading["FPS"] == "23.976" and heading["VIDEO_FORMAT"] == "CUSTOM"
    by_name = {row["Name"]: row for row in rows}
    assert len(rows) == 3 + 1 + CLIPS
    assert by_name["A001C001_261128_R2EC"]["Tape"] == "A001R2EC"
    assert by_name["A001C001_261128_R2EC"]["Tracks"] == "V"
    assert by_name["12A-T003"]["Tracks"] == "A1A2" and by_name["12A-T003"]["Soundroll"] == "26Y11M28"
    assert by_name["S0001-T001"]["Scene"] == "S1 <b>&"
    heading, rows = read_ale(day[1] / "day.25.ale")
    assert heading["VIDEO_FORMAT"] == "1080" and len(rows) == 3
    heading, rows = read_ale(day[1] / "day.29.97.ale")
    assert {row["Name"] for row in rows} == {re.sub("[\n\t]", " ", shown(name)) for name in HOSTILE}
    assert {(row["Start"], row["End"]) for row in rows} == {("01:00:00;02", "01:00:02;02")}


class Page(html.parser.HTMLParser):
    """A page of known elements, each closed, that asks for nothing from outside."""

    OPEN = {"meta", "br"}
    KNOWN = {"html": {"lang"}, "head": set(), "meta": {"charset", "http-equiv", "content", "name"},
             "title": set(), "style": set(), "body": set(), "h1": set(), "h2": set(), "h3": set(),
             "p": {"class"}, "ul": set(), "li": set(), "b": {"class"}, "bdi": set(), "br": set(),
             "span": {"class"}, "section": set(), "div": {"class"}, "table": set(), "thead": set(),
             "tbody": set(), "tr": set(), "th": {"class"}, "td": {"class"}}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.cells, self.policy = [], [], None
        self.feed(text)
        self.close()
        assert self.stack == [], self.stack

    def handle_starttag(self, tag, attrs):
        assert tag in self.KNOWN and {name for name, _ in attrs} <= self.KNOWN[tag], (tag, attrs)
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]
        if tag not in self.OPEN:
            self.stack.append(tag)
        if tag in ("td", "th", "li", "p", "h2"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, tag

    def handle_data(self, data):
        if "style" in self.stack:
            assert "url(" not in data and "@import" not in data
        elif self.cells:
            self.cells[-1] += data

    def handle_comment(self, data):
        raise AssertionError(data)


def test_html_is_one_harmless_page(day):
    page = Page((day[1] / "day.html").read_text(encoding="utf-8"))
    assert page.policy == "default-src 'none'; style-src 'unsafe-inline'"
    cells = [cell.strip() for cell in page.cells]
    for name in HOSTILE:
        visible = re.sub("[\n\t\u202e]", lambda hit: f"U+{ord(hit[0]):04X}", shown(name))
        assert visible in cells, visible
    assert "Missing reels: A003" in cells
    assert "14:22:10:05" in cells and "01:00:00;02" in cells and "ProRes 422 HQ" in cells
    assert cells.count("CARD NOT CHECKED") == 6 and "NOT COMPLETE" not in cells
    assert "2026-11-28" in cells
    assert sum(cell.startswith("S1\t<b>") or cell.startswith("S1 <b>") for cell in cells) == 1


def test_what_is_wrong_with_a_card_is_said(day):
    site, out = day
    put(site.mnt / "day2/C001_1128AB.RDM/C001_C001_1128AB.RDC/C001_C001_1128AB_002.R3D", b"x" * 99)
    site.wait("day2", "stored")
    done = site.cmd("report", site.mnt / "day2", "--html", out / "two.html")
    assert "CARD NOT CHECKED" in done.stdout and "1 thing is missing or odd" in done.stdout
    cells = " ".join(Page((out / "two.html").read_text()).cells)
    assert "lacks segment 1" in cells and "no media that is known, or damaged" in cells
    site.cmd("pause")
    try:
        put(site.mnt / "day2/C001_1128AB.RDM/C001_C001_1128AB.RDC/C001_C001_1128AB_001.R3D",
            b"y" * 99)
        site.wait("day2", "verified")
        done = json.loads(site.cmd("report", site.mnt / "day2", "--json").stdout)
        assert [clip["segments"] for clip in done["cards"][0]["clips"]] == [2]
        assert done["cards"][0]["copies"][0]["files"] == 1
        text = site.cmd("report", site.mnt / "day2").stdout
        assert "TOO FEW COPIES" in text and "SAFE" not in text and "has 1 of 2 files" in text
    finally:
        site.cmd("resume")
    site.wait("day2", "stored")


def test_its_verdict_is_that_of_the_policy(day):
    """What mediafs safe wants of copies, and no other way of counting them."""
    site, _ = day
    top = site.mnt / "day1/A001R2EC"
    for key, value, before, enough in (
            ("safe.copies", "2", "2", True), ("safe.copies", "3", "2", False),
            ("safe.offsite", "1", "0", False), ("safe.distinct_devices", "yes", "no", False)):
        site.set(key, value)
        text = site.cmd("report", top).stdout
        safe = site.cmd("safe", "--offload", top, check=False)
        assert (safe.returncode == 0) == enough, safe.stdout
        assert text.startswith("CARD NOT CHECKED" if enough else "TOO FEW COPIES"), text
        assert enough or "2 files have fewer copies than mediafs.conf wants" in text
        site.set(key, before)


def test_what_is_evicted_is_not_fetched(day):
    site, out = day
    # Longer than what is kept of it; what tells lies at its front.
    data = media.wav().replace(b"iXML", b"junk") + bytes(24 << 20)
    put(site.mnt / "day3/26Y11M27/12A-T009.WAV", data)
    site.wait("day3", "stored")
    site.cmd("evict", site.mnt / "day3")
    site.wait_state("day3/26Y11M27/12A-T009.WAV", "evicted")
    said = site.cmd("report", site.mnt / "day3", "--csv", out / "three.csv").stdout
    assert said.startswith("TOO FEW COPIES"), said  # one, and only parts here
    (row,) = read_csv(out / "three.csv")
    assert row["Sample Rate"] == "48000" and not row["Not Known Because"]
    assert site.state("day3/26Y11M27/12A-T009.WAV") == "evicted"


def test_what_clips_said_is_known_without_their_bytes(day):
    """All the lines of before, and nothing of it is here or comes for it."""
    site, out = day
    # What tells lies in its middle, and only its ends are kept here.
    put(site.mnt / "day4/26Y11M26/12A-T003.WAV", media.wav(samples=4 << 20, more=12 << 20))
    put(site.mnt / "day4/26Y11M26/12A-T004.WAV", b"RIFF\0\0")
    site.wait("day4", "stored")

    def report(name):
        site.cmd("report", site.mnt / "day4", "--csv", out / f"{name}.csv", "--ale",
                 out / f"{name}.ale")
        return (out / f"{name}.csv").read_bytes(), (out / f"{name}.ale").read_bytes()

    before = report("before")
    assert b"12A" in before[0] and b"Lav Ann" in before[0] and b"14:22:10:05" in before[1]
    site.cmd("evict", site.mnt / "day4")
    site.wait_state("day4/26Y11M26/12A-T003.WAV", "evicted")
    here = site.status()["resident_bytes"]
    assert report("after") == before
    assert site.status()["resident_bytes"] == here
    assert site.state("day4/26Y11M26/12A-T003.WAV") == "evicted"
    # Without the daemon as well.
    site.umount()
    site.cmd("report", "day4", "--csv", out / "offline.csv")
    assert (out / "offline.csv").read_bytes() == before[0]
    site.mount()
    # Other bytes under the name say something else.
    data = media.wav(media.IXML.replace("12A", "99Z"), samples=4 << 20, more=12 << 20)
    put(site.mnt / "day4/26Y11M26/12A-T003.WAV", data)
    site.wait("day4", "verified")
    report("other")
    assert {row["Scene"] for row in read_csv(out / "other.csv")} == {"99Z", ""}


def test_wrong_use_and_places_that_are_no_file(day, tmp_path):
    site, _ = day
    assert site.cmd("report", check=False).returncode == 2
    assert site.cmd("report", site.mnt / "none", check=False).returncode == 8
    (tmp_path / "link").symlink_to("/dev/null")
    for place in (tmp_path, tmp_path / "link", tmp_path / "none/x.html"):
        done = site.cmd("report", site.mnt / "day1/A001R2EC", "--html", place, check=False)
        assert done.returncode != 0 and str(place) in done.stderr
    assert os.readlink(tmp_path / "link") == "/dev/null"
    (site.mnt / "empty").mkdir()
    done = site.cmd("report", site.mnt / "empty", "--csv", tmp_path / "x.csv", check=False)
    assert done.returncode == 8 and "looks like a card" in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "link"]


def test_without_the_probe_there_is_a_report(day, tmp_path):
    alone = tmp_path / "mediafs"
    shutil.copy(BUILD / "src/cli/mediafs", alone)
    site = Site(tmp_path)
    put(site.store / "tree/26Y11M28/12A-T003.WAV", media.wav())
    fsck("-y", site.store)
    done = run(alone, "report", "26Y11M28", "--csv", tmp_path / "x.csv", "--html",
               tmp_path / "x.html", "--store", site.store)
    assert "mediafs-probe is not installed" in done.stderr
    assert [row["Start TC"] for row in read_csv(tmp_path / "x.csv")] == [""]
    assert "mediafs-probe is not installed" in (tmp_path / "x.html").read_text()


def first_pixel(png):
    """The first pixel of a PNG: whatever the filter, nothing stands before it."""
    data, at, packed = png.read_bytes(), 8, b""
    assert data.startswith(b"\x89PNG")
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += 12 + length
    return tuple(zlib.decompress(packed)[1:4])


@pytest.mark.slow
def test_a_browser_shows_it_light_dark_and_on_paper(day):
    _, out = day
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed")

    def browse(*words):
        subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                        f"--user-data-dir={out}/profile", "--window-size=1600,1200", *words,
                        f"file://{out}/day.html"], check=True, capture_output=True,
                       timeout=2 * PATIENCE)

    browse(f"--screenshot={out}/light.png", "--blink-settings=preferredColorScheme=1")
    browse(f"--screenshot={out}/dark.png", "--blink-settings=preferredColorScheme=0")
    browse(f"--print-to-pdf={out}/day.pdf", "--no-pdf-header-footer",
           "--blink-settings=preferredColorScheme=0")
    assert first_pixel(out / "light.png") == (255, 255, 255)
    assert first_pixel(out / "dark.png") == (22, 24, 27)
    assert (out / "day.pdf").read_bytes().startswith(b"%PDF-")
