"""The Nth call fails in a daemon whose settings are changed: what it says it did is in the file and in
force, what it says it did not is in neither or in both. How many N: nth.py."""
import configparser
import json

import pytest

from nth import Rounds, nth, nth_library  # pylint: disable=unused-import

pytestmark = pytest.mark.slow
REMOVE = "tier", "remove", "--force", "two"
ADD = "tier", "add", "two", "TIER"
CHANGES = {  # what is tried, what is done before, and what the file says after that and after the trial
    "set": (("config", "set", "sync.poll", "300ms"), ("config", "set", "sync.poll", "100ms"),
            "sync.poll", "100ms", "300ms"),
    "limit": (("limit", "5M"), ("limit", "0"), "transfer.limit", "0", "5M"),
    "pause": (("pause",), ("resume",), "transfer.pause", "no", "yes"),
    "add": (ADD, REMOVE, "tier.two.url", None, "TIER"),
    "remove": (REMOVE, ADD, "tier.two.url", "TIER", None),
}


class Settings:
    def __init__(self, site, two):
        self.site, self.two = site, f"file://{two}"

    def text(self, word):
        return self.two if word == "TIER" else word

    def run(self, command, check=True):
        return self.site.cmd(*map(self.text, command), check=check)

    def in_file(self):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(self.site.store / "mediafs.conf")
        return {f"{section.replace(' ', '.')}.{key}": value.strip('"')
                for section in parser.sections() for key, value in parser[section].items()}

    def check_level(self, later):
        """The file is in force. @later: it was said that a tier waits for the next mount."""
        said = json.loads(self.site.cmd("config", "get", "--json").stdout)["settings"]
        file = self.in_file()
        assert {entry["key"]: entry["value"] for entry in said} == {
            entry["key"]: file.get(entry["key"], entry["default"]) for entry in said}
        tiers = {tier["name"] for tier in self.site.status()["tiers"]}
        named = {key.split(".")[1] for key in file if key.endswith(".url")}
        assert later or tiers == named, f"sent to {tiers}, in the file {named}"


def one(settings, nth, kind, turn, change):
    """How many calls were made to fail."""
    command, back, key, before, after = change
    before, after = settings.text(before), settings.text(after)
    if settings.in_file().get(key) != before:
        settings.run(back)
    kept = settings.in_file()
    assert kept.get(key) == before
    nth.arm(kind, turn)
    said = settings.run(command, check=False)
    hits = nth.disarm()[1]
    new = settings.in_file()
    value = new.pop(key, None)
    kept.pop(key, None)
    assert new == kept
    if said.returncode == 0:
        assert value == after, f"it says that it did it: {said.stdout}"
    else:
        assert said.returncode > 0 and said.stderr
        assert value in (before, after), value
    settings.check_level("next mount" in said.stdout + settings.site.log_text())
    return hits


@pytest.mark.parametrize("name", CHANGES)
def test_settings(sites, tier, tmp_path, nth, name):
    two = tmp_path / "two"
    two.mkdir()
    site = sites("cart", tier=tier)
    site.mount(env=nth.environment)
    settings, change, found = Settings(site, two), CHANGES[name], []
    for kind in ("alloc", "write", "sync", "name", "open", "read"):
        settings.run(change[1], check=False)
        turns = nth.turns(kind, lambda: settings.run(change[0]), step=20)
        reached = 0
        for turn in turns:
            try:
                reached += one(settings, nth, kind, turn, change)
                assert site.daemon.poll() is None, "the daemon died"
            except (AssertionError, OSError) as error:
                found.append(f"{name}, {kind} {turn}: {error}\n{site.log_text()[-4000:]}")
                print("FOUND", found[-1], flush=True)
                site.close()
                site.mount(env=nth.environment)
        print(f"{name}, {kind}: {len(turns)} turns, {reached} made to fail")
    assert not found, f"{len(found)} found, such as {found[0]}"
    site.set("sync.flush", "60ms")
    settings.check_level(False)
