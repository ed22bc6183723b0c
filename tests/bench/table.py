"""What is measured beside what, the goals of DESIGN section 7, and how the result is shown."""
import dataclasses
import math
import statistics


@dataclasses.dataclass(frozen=True)
class Row:
    key: str            # its first word is the topic, which --rows names
    what: str
    beside: str         # what a user would pick instead; empty: there is nothing
    unit: str
    goal: str = ""      # such as ">= 0.90"; empty: for comparison only
    of: str = "ratio"   # what the goal is about: "ratio" (ours to theirs) or "ours"
    files: int = 0      # the goal is about a volume of so many files


ROWS = [
    Row("cp", "cp of a large file into the volume", "cp onto the disk", "MB/s", ">= 0.90"),
    Row("verified", "cp + all verified", "cp + sync + cold xxhsum -c", "s", "<= 0.75"),
    Row("offload", "mediafs offload of a card", "cp + sync + cold xxhsum of both", "s", "<= 0.75"),
    Row("offload rsync", "the same", "rsync + sync + cold rsync -c", "s", "<= 0.75"),
    Row("frames", "offload of small frames", "cp + sync + cold xxhsum of both", "s", "<= 1"),
    Row("frames rsync", "the same", "rsync + sync + cold rsync -c", "s", "<= 1"),
    Row("frames safe", "mediafs safe of small frames", "cold xxhsum of both", "s", "<= 1.3"),
    Row("archive export", "mediafs export of a roll", "tar + sync", "s"),
    Row("archive import", "mediafs import, all verified", "bsdtar -x + sync", "s"),
    Row("read cold", "read of a resident file, cold", "from the disk", "MB/s", ">= 0.97"),
    Row("read memory", "the same, from memory", "from the page cache", "MB/s", ">= 0.97"),
    Row("small create", "small files: create", "passthrough_ll", "files/s", ">= 0.80"),
    Row("small list", "small files: ls -R, cold", "passthrough_ll", "files/s", ">= 0.80"),
    Row("small stat", "small files: stat, cold", "passthrough_ll", "files/s", ">= 0.80"),
    Row("mount", "mount to the first ls, cold", "", "s", "<= 1", "ours", 1000000),
    Row("mount memory", "daemon's RSS after find", "", "MB", "<= 300", "ours", 1000000),
    Row("fsck quick", "mediafs-fsck, cold", "find -printf of the tree", "s", "<= 10", "ours",
        1000000),
    Row("fsck full", "mediafs-fsck --full", "fio, direct", "MB/s", ">= 0.95"),
    Row("upload", "upload to S3", "rclone copyto", "MB/s", ">= 1.0"),
    Row("upload cpu", "CPU of that", "rclone", "s", "<= 0.5"),
    Row("upload aws", "upload to S3", "aws s3 cp", "MB/s", ">= 1.0"),
    Row("upload aws cpu", "CPU of that", "aws", "s", "<= 0.5"),
    Row("download", "read of an evicted file from S3", "rclone mount", "MB/s", ">= 1.0"),
    Row("download cpu", "CPU of that", "rclone mount", "s", "<= 0.5"),
    Row("download s3fs", "read of an evicted file from S3", "s3fs", "MB/s"),
    Row("download s3fs cpu", "CPU of that", "s3fs", "s"),
    Row("download first", "its first MiB, in the middle", "rclone mount", "s", "<= 1"),
    Row("download first s3fs", "the same", "s3fs", "s"),
    Row("download random", "MiBs of it here and there", "rclone mount", "MB/s", ">= 1.0"),
    Row("download random cpu", "CPU of that", "rclone mount", "s", "<= 0.5"),
    Row("download random s3fs", "MiBs of it here and there", "s3fs", "MB/s"),
    Row("download random s3fs cpu", "CPU of that", "s3fs", "s"),
    # Four connections with parts of 16 MiB, and a MiB for all else that goes through the gate.
    Row("resent", "sent again after kill -9 half way", "rclone copyto", "MB", "<= 68.2", "ours"),
    Row("visible", "close to visible at editorial, median", "", "s"),
    Row("visible p95", "the same, p95", "", "s", "<= 5", "ours", 100000),
    Row("visible unsettled", "p95 with ingest.settle = 0", "", "s", "<= 5", "ours", 100000),
    Row("link", "upload over a limited link", "one plain TCP stream", "MB/s", ">= 0.95"),
    Row("link rclone", "upload over a limited link", "rclone copyto", "MB/s", ">= 1.0"),
    Row("link read", "read of an evicted file over it", "rclone mount", "MB/s", ">= 1.0"),
    Row("link jump", "first bytes for a reader who jumps", "rclone mount", "s"),
    # A block over a line of 20 Mbit/s takes 1.7 s by itself.
    Row("link reader", "first block for a reader beside it", "", "s", "<= 2", "ours"),
]
TOPICS = list(dict.fromkeys(row.key.split()[0] for row in ROWS))


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def shown(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


class Table:
    def __init__(self, files):
        self.files = files
        self.samples = {}   # key: [(ours, theirs or None), one a round]
        self.failed = {}    # topic: why it could not be measured

    def note(self, key, ours, theirs=None):
        row = next(row for row in ROWS if row.key == key)
        self.samples.setdefault(key, []).append((ours, theirs))
        beside = f", {row.beside} {shown(theirs)}" if theirs is not None else ""
        print(f"  {key}: {shown(ours)} {row.unit}{beside}", flush=True)

    def check(self, topic, rounds):
        """Say what is wrong with the measuring of a topic; how fast it was is none of this."""
        for row in ROWS:
            if row.key.split()[0] != topic:
                continue
            pairs = self.samples.get(row.key, [])
            if len(pairs) != rounds:
                yield f"{row.key}: {len(pairs)} of {rounds} rounds were measured"
            for ours, theirs in pairs:
                figures = [ours] + ([theirs] if row.beside else [])
                least = 0 if row.of == "ours" and row.beside else 1e-9
                if any(value is None or not math.isfinite(value) or value < least
                       for value in figures):
                    yield f"{row.key}: {ours} to {theirs} is no measurement"
                elif row.of == "ratio" and row.beside and not 1e-3 < ours / theirs < 1e3:
                    yield f"{row.key}: {ours} to {theirs} is nothing like the same work"

    def result(self, row):
        """A row as JSON tells it."""
        pairs = self.samples[row.key]
        out = {"row": row.key, "what": row.what, "unit": row.unit, "rounds": len(pairs),
               "ours": spread([ours for ours, _ in pairs])}
        if row.beside:
            out["beside"] = row.beside
            out["theirs"] = spread([theirs for _, theirs in pairs])
            if all(theirs for _, theirs in pairs):
                out["ratio"] = spread([ours / theirs for ours, theirs in pairs])
        if row.goal:
            limit = float(row.goal.split()[1])
            value = out[row.of]["median"]
            out["goal"] = {"of": row.of, "is": row.goal}
            # Few files say nothing about many; but what is too slow for few is too slow.
            met = value >= limit if row.goal.startswith(">") else value <= limit
            if not met or self.files >= row.files:
                out["met"] = met
        return out

    def results(self):
        return [self.result(row) for row in ROWS if row.key.split()[0] not in self.failed
                and row.key in self.samples]

    def lines(self):
        form = "{:<24} {:<38} {:>14}  {:<27} {:>7}  {:>6} {:<14} {:<16} {}"
        yield form.format("row", "what", "ours", "beside", "theirs", "ratio", "  range", "goal",
                          "met")
        for out in self.results():
            ratio = out.get("ratio")
            of, figure = (ratio, "{:.2f}".format) if ratio else (out["ours"], shown)
            goal = out.get("goal")
            yield form.format(
                out["row"], out["what"], f"{shown(out['ours']['median'])} {out['unit']}",
                out.get("beside", "-"), shown(out["theirs"]["median"]) if "theirs" in out else "-",
                f"{ratio['median']:.2f}" if ratio else "-",
                f"{figure(of['min'])} to {figure(of['max'])}",
                (goal["is"] + (f" {out['unit']}" if goal["of"] == "ours" else "")) if goal else "-",
                {True: "yes", False: "NO", None: "-"}[out.get("met")])
        for topic, why in self.failed.items():
            yield f"{topic}: NOT MEASURED: {why}"


def plot(results, title):
    """An SVG: how each row stands to its goal, on a logarithmic scale, median and range."""
    left, width, step, decade = 330, 560, 22, 4.0
    results = [out for out in results if "goal" in out]

    def place(out, value):
        limit = float(out["goal"]["is"].split()[1])
        value = max(value, 1e-9)
        better = value / limit if out["goal"]["is"].startswith(">") else limit / value
        scale = math.log(min(max(better, 1 / decade), decade)) / math.log(decade)
        return left + width * (scale + 1) / 2

    def text(x, y, words, more=""):
        words = words.replace("&", "&amp;").replace("<", "&lt;")
        return f'<text x="{x}" y="{y}" {more}>{words}</text>'
    height = 70 + step * len(results)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 20}" height="{height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="100%" height="{height}" fill="white"/>', text(10, 20, title)]
    for mark, words in ((1 / decade, "4 times short"), (1.0, "the goal"),
                        (decade, "4 times better")):
        x = left + width * (math.log(mark) / math.log(decade) + 1) / 2
        anchor = 'text-anchor="middle"' if mark == 1.0 else 'text-anchor="end"' if mark > 1 else ""
        out += [f'<path d="M{x} 45V{height - 10}" stroke="#888"/>', text(x, 40, words, anchor)]
    for number, row in enumerate(results):
        y = 62 + step * number
        of = row[row["goal"]["of"]]
        low, middle, high = (place(row, of[name]) for name in ("min", "median", "max"))
        colour = {True: "#080", False: "#c00", None: "#888"}[row.get("met")]
        out += [text(10, y + 4, f"{row['row']}: {shown(of['median'])} (goal {row['goal']['is']})"),
                f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="{colour}" stroke-width="3"/>',
                f'<circle cx="{middle:.1f}" cy="{y}" r="5" fill="{colour}"/>']
    return "\n".join([*out, "</svg>", ""])
