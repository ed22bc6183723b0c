"""Tiers come and go: `mediafs tier add` and `tier remove`, mounted or not."""
import functools
import json
import shutil

import pytest

from lib import pattern, wait_for

EVICTABLE = 16 << 20  # of less than 8 MiB nothing is ever evicted


data = functools.cache(pattern)  # each call of pattern() makes others


@pytest.fixture
def nas(tmp_path):
    folder = tmp_path / "nas"
    folder.mkdir()
    return folder


def add(site, name, folder, **options):
    return site.cmd("tier", "add", name, f"file://{folder}", **options)


def remove(site, name, *words, **options):
    return site.cmd("tier", "remove", *words, name, **options)


def names(site):
    return [tier["name"] for tier in json.loads(site.cmd("tier", "list", "--json").stdout)["tiers"]]


def put(site, name, size=100000, seed=1):
    (site.mnt / name).write_bytes(data(size, seed))


def all_sent(site):
    wait_for(lambda: site.status()["queue"]["files"] == 0, "all to be sent")


def has(folder, name, seed=1, size=100000):
    path = folder / name
    return path.exists() and path.read_bytes() == data(size, seed)




def stored_in_both(cart, nas, name, size=100000):
    put(cart, name, size)
    cart.wait()
    add(cart, "nas", nas)
    wait_for(lambda: has(nas, name, size=size), "the new tier to have it")
    all_sent(cart)


def test_one_more_gets_all_that_is_there_and_all_that_comes(cart, nas, tmp_path):
    put(cart, "a.wav")
    cart.wait()
    out = add(cart, "nas", nas).stdout
    assert "next mount" not in out and names(cart) == ["main", "nas"]
    put(cart, "b.wav", seed=2)
    cart.wait()
    wait_for(lambda: has(nas, "a.wav") and has(nas, "b.wav", 2), "both to be in the new tier")
    (nas / "b.wav").unlink()
    cart.umount()
    cart.mount()
    put(cart, "c.wav", seed=3)
    cart.wait()
    assert has(nas, "c.wav", 3), "not known any more after another mount"


def test_one_less_is_waited_for_no_more_and_lacks_nothing_when_it_comes_back(cart, nas, tmp_path):
    """A shuttle drive is taken away; days later it is here again."""
    put(cart, "a.wav")
    cart.wait()
    add(cart, "nas", nas)
    wait_for(lambda: has(nas, "a.wav"), "the new tier to have it")
    away = nas.rename(tmp_path / "away")
    put(cart, "b.wav", seed=2)
    wait_for(lambda: cart.status()["moving"]["tier_down"], "the tier to be missed")
    cart.wait_state("b.wav", "queued")
    remove(cart, "nas")
    cart.wait_state("b.wav", "stored")
    status = cart.status()
    assert not status["moving"]["tier_down"] and status["queue"]["files"] == 0
    assert [tier["name"] for tier in status["tiers"]] == ["main"] == names(cart)
    assert has(away, "a.wav"), "something was deleted there"
    put(cart, "c.wav", seed=3)
    cart.wait()
    away.rename(nas)
    add(cart, "nas", nas)
    wait_for(lambda: has(nas, "b.wav", 2) and has(nas, "c.wav", 3), "it to get what it lacks")


def alone_in_nas(cart, tier, nas):
    """The first tier has lost it, that was noticed, and it was not sent again yet."""
    stored_in_both(cart, nas, "a.mov", EVICTABLE)
    (tier / "a.mov").unlink()
    cart.set("transfer.required_copies", "2")
    cart.cmd("pause")
    assert cart.cmd("evict", cart.mnt / "a.mov", check=False).returncode, "it was not missed"
    assert cart.state("a.mov") == "stored"


@pytest.mark.folder("copies are deleted there by hand")
@pytest.mark.parametrize("mounted", [True, False])
def test_what_it_alone_had_goes_to_the_others(cart, tier, nas, mounted):
    alone_in_nas(cart, tier, nas)
    if mounted:
        remove(cart, "nas")
    else:
        cart.umount()
        assert "next mount" in remove(cart, "nas").stdout
        cart.mount()
    cart.wait_state("a.mov", "queued")
    assert not any(tier.glob("a*.mov"))
    cart.cmd("resume")
    wait_for(lambda: any(path.read_bytes() == data(EVICTABLE, 1) for path in tier.glob("a*.mov")),
             "the tier that is left to get it")
    cart.wait()
    assert cart.state("a.mov") == "stored"


def test_with_the_last_one_nothing_is_stored(cart):
    put(cart, "a.wav")
    cart.wait()
    cart.umount()
    remove(cart, "main")
    cart.mount()
    assert cart.state("a.wav") == "verified"


@pytest.mark.folder("copies are deleted there by hand")
def test_nothing_becomes_unreadable_by_it(cart, tier, nas):
    stored_in_both(cart, nas, "a.mov", EVICTABLE)
    (tier / "a.mov").unlink()
    cart.cmd("evict", cart.mnt / "a.mov")
    refused = remove(cart, "nas", check=False)
    assert refused.returncode == 6 and "a.mov" in refused.stderr, refused
    assert "1 evicted file" in refused.stderr and names(cart) == ["main", "nas"]
    remove(cart, "nas", "--force")
    cart.set("transfer.hydrate_timeout", "200ms")
    with pytest.raises(OSError):
        (cart.mnt / "a.mov").read_bytes()
    cart.set("transfer.hydrate_timeout", "")
    add(cart, "nas", nas)
    assert (cart.mnt / "a.mov").read_bytes() == data(EVICTABLE, 1)


def test_the_first_one_of_a_mounted_volume_brings_other_sites(sites, plain, nas):
    put(plain, "a.wav")
    plain.wait(state="verified")
    add(plain, "main", nas)
    plain.wait()
    editorial = sites("editorial", join=nas).mount()
    wait_for(lambda: has(editorial.mnt, "a.wav"), "editorial to see it")
    put(plain, "b.wav", seed=2)
    wait_for(lambda: has(editorial.mnt, "b.wav", 2), "editorial to see the next one")


def test_the_first_one_stays_until_the_next_mount(cart, tier, nas):
    """Other sites are met there."""
    put(cart, "a.wav")
    cart.wait()
    add(cart, "nas", nas)
    wait_for(lambda: has(nas, "a.wav"), "the new tier to have it")
    assert "next mount" in remove(cart, "main").stdout
    put(cart, "b.wav", seed=2)
    cart.wait()
    assert has(tier, "b.wav", 2) and has(nas, "b.wav", 2)
    cart.umount()
    cart.mount()
    put(cart, "c.wav", seed=3)
    cart.wait()
    assert has(nas, "c.wav", 3) and not (tier / "c.wav").exists()


def test_it_may_come_and_go_while_it_is_sent_to(cart, nas):
    for number in range(200):
        put(cart, f"{number:03}.wav", 30000, number)
    for _ in range(5):
        add(cart, "nas", nas)
        before = len(list(nas.glob("*.wav")))
        wait_for(lambda: len(list(nas.glob("*.wav"))) >= min(before + 1, 200), "one more there")
        remove(cart, "nas")
    add(cart, "nas", nas)
    cart.wait()
    wait_for(lambda: all(has(nas, f"{number:03}.wav", number, 30000) for number in range(200)),
             "all to be there")
    all_sent(cart)
    assert all(cart.state(f"{number:03}.wav") == "stored" for number in range(200))


def test_another_drive_in_the_same_place_is_another_tier(cart, nas):
    put(cart, "a.wav")
    cart.wait()
    add(cart, "nas", nas)
    wait_for(lambda: has(nas, "a.wav"), "the new tier to have it")
    remove(cart, "nas")
    shutil.rmtree(nas)
    nas.mkdir()
    refused = add(cart, "nas", nas, check=False)
    assert refused.returncode == 6 and "another name" in refused.stderr, refused
    add(cart, "nas-2", nas)
    wait_for(lambda: has(nas, "a.wav"), "the other drive to get it")


def test_what_cannot_be_one_is_said_and_changes_nothing(cart, sites, tier, nas, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    sites("another", tier=other)
    for words, code, told in [
            (("add", "main", f"file://{nas}"), 6, "already"),
            (("add", "twice", f"file://{tier}"), 6, "already"),
            (("add", "other", f"file://{other}"), 6, "another volume"),
            (("add", "inside", f"file://{cart.store}/tree"), 2, "inside the store"),
            (("add", "away", f"file://{tmp_path}/nowhere"), 4, "nowhere"),
            (("add", "bad/name", f"file://{nas}"), 2, "name"),
            (("add", "bad", "ftp://x"), 10, "ftp://x"),
            (("add", "nas"), 2, "too few"),
            (("add", "nas", "file:///x", "y"), 2, "too many"),
            (("add", "--force", "nas", f"file://{nas}"), 2, "--force"),
            (("remove",), 2, "too few"),
            (("remove", "nas"), 8, "no tier"),
            (("sell",), 2, "sell")]:
        done = cart.cmd("tier", *words, check=False)
        assert done.returncode == code and told in done.stderr, (words, done)
    assert names(cart) == ["main"] and not any(nas.iterdir())


def test_as_json(cart, nas):
    add(cart, "nas", nas)
    out = json.loads(cart.cmd("tier", "remove", "nas", "--json").stdout)
    assert out == {"name": "nas", "url": None, "next_mount": False}
    out = json.loads(cart.cmd("tier", "add", "nas", f"file://{nas}", "--json").stdout)
    assert out == {"name": "nas", "url": f"file://{nas}", "next_mount": False}
    refused = cart.cmd("tier", "remove", "none", "--json", check=False)
    assert refused.returncode == 8 and "no tier" in json.loads(refused.stdout)["error"]
