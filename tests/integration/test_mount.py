"""A mount: what is special about ours, how it begins and how it ends."""
import contextlib
import fcntl
import mmap
import os
import pathlib
import pwd
import signal
import stat
import subprocess
import threading

import pytest

import posix_names
from lib import BLOCK, MEDIAFS, PATIENCE, Site, fsck, is_mounted, mediafs, pattern, run, wait_for
from posix_calls import LIBC, as_user, attempt, read, write

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acts as several users: needs root")


def test_inode_numbers_outlive_a_remount(plain):
    write(plain.mnt / "file", b"x")
    os.makedirs(plain.mnt / "a/b")
    os.symlink("x", plain.mnt / "link")
    names = ["file", "a", "a/b", "link", "."]
    before = [os.lstat(plain.mnt / name).st_ino for name in names]
    plain.umount()
    plain.mount()
    assert [os.lstat(plain.mnt / name).st_ino for name in names] == before
    # The numbers that listing tells are the same ones.
    listed = {entry.name: entry.inode() for entry in os.scandir(plain.mnt)}
    assert listed == {"file": before[0], "a": before[1], "link": before[3]}


def test_a_mount_of_another_subtype_is_found(plain):
    """By its source: where people tell mounts apart by their type, commands work all the same."""
    plain.umount()
    plain.mount("subtype=dailies")
    write(plain.mnt / "file", b"x")
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        assert [line for line in lines if f" {plain.mnt} " in line and " - fuse.dailies " in line]
    assert mediafs("status", plain.mnt / "file").returncode == 0
    plain.daemon.kill()
    plain.daemon.wait()
    plain.mount("subtype=dailies")  # clears what the dead one left
    wait_for(lambda: attempt(read, plain.mnt / "file") == b"x", "the new mount")
    plain.umount()


def test_large_attributes_are_kept_elsewhere(plain):
    """ext4 gives a file 4 KiB for all its attributes; Finder wants more."""
    path = plain.mnt / "file"
    write(path)
    large, larger = os.urandom(40_000), os.urandom(65_536)
    os.setxattr(path, "user.small", b"s")
    os.setxattr(path, "user.com.apple.ResourceFork", large)
    assert os.getxattr(path, "user.com.apple.ResourceFork") == large
    assert sorted(os.listxattr(path)) == ["user.com.apple.ResourceFork", "user.small"]
    with pytest.raises(FileExistsError):
        os.setxattr(path, "user.com.apple.ResourceFork", b"x", os.XATTR_CREATE)
    os.setxattr(path, "user.com.apple.ResourceFork", larger, os.XATTR_REPLACE)
    os.setxattr(path, "user.small", large)  # from the inode to the catalog
    plain.umount()
    plain.mount()
    assert os.getxattr(path, "user.com.apple.ResourceFork") == larger
    assert os.getxattr(path, "user.small") == large
    os.setxattr(path, "user.small", b"t")  # and back
    assert os.getxattr(path, "user.small") == b"t"
    assert os.getxattr(plain.tree / "file", "user.small") == b"t"
    os.removexattr(path, "user.com.apple.ResourceFork")
    assert os.listxattr(path) == ["user.small"]
    assert attempt(os.getxattr, path, "user.com.apple.ResourceFork") == "ENODATA"
    assert attempt(os.removexattr, path, "user.com.apple.ResourceFork") == "ENODATA"


def test_a_folder_is_listed_from_the_kernels_memory(plain):
    """What lies below is asked once; what is changed through the mount is seen at once."""
    folder = plain.mnt / "folder"
    folder.mkdir()
    names = {f"file{number}" for number in range(300)}
    for name in names:
        write(folder / name)
    for name in "new", "newer":
        assert {entry.name for entry in os.scandir(folder) if entry.stat().st_nlink} == names
        write(folder / name)
        names.add(name)
    (folder / "new").unlink()
    names.remove("new")

    def is_kept():
        """Nothing may change the tree but the mount: what does is not seen."""
        for _ in range(2):
            assert {entry.name for entry in os.scandir(folder) if entry.stat().st_nlink} == names
        write(plain.tree / "folder/behind")
        listed = set(os.listdir(folder))
        (plain.tree / "folder/behind").unlink()
        return listed == names

    wait_for(is_kept, "the kernel to keep the list")


def test_our_attributes_of_an_open_file(cart):
    """What is known of a file does not hide while a player has it open."""
    path = cart.mnt / "file"
    with open(path, "wb") as file:
        file.write(b"twelve bytes")
        reader = open(path, "rb")
    with reader:
        cart.wait_state("file", "stored")
        assert os.getxattr(path, "user.mediafs.copies") == b"1"
        assert len(os.getxattr(path, "user.mediafs.digest")) == 32


def test_our_attributes(plain):
    path = plain.mnt / "file"
    os.mkdir(plain.mnt / "folder")
    write(path, b"twelve bytes")
    plain.wait_state("file", "verified")

    def get(name):
        return os.getxattr(path, f"user.mediafs.{name}").decode()
    assert get("state") == "verified"
    assert len(get("digest")) == 32
    assert get("copies") == "0"
    assert get("resident") == "12"
    assert get("path") == "file"
    assert int(get("generation")) > 0
    assert get("pin") == "0"
    os.setxattr(path, "user.mediafs.pin", b"1")
    assert get("pin") == "1"
    os.removexattr(path, "user.mediafs.pin")
    assert get("pin") == "0"
    assert os.listxattr(path) == []  # copies of the file must not carry them
    for name in ("state", "digest", "residency", "anything"):
        assert attempt(os.setxattr, path, f"user.mediafs.{name}", b"x") == "EPERM"
        assert attempt(os.removexattr, path, f"user.mediafs.{name}") == "EPERM"
    assert attempt(os.getxattr, path, "user.mediafs.residency") == "ENODATA"
    assert attempt(os.getxattr, path, "user.mediafs.anything") == "ENODATA"
    assert attempt(os.setxattr, path, "user.mediafs.pin", b"maybe") == "EINVAL"
    assert attempt(os.getxattr, plain.mnt / "folder", "user.mediafs.state") == "ENODATA"
    assert os.getxattr(plain.mnt / "folder", "user.mediafs.path") == b"folder"


def test_names_of_ours_stay_ours(plain):
    mine = plain.mnt / ".mediafs-mine"
    assert attempt(write, mine) == "EPERM"
    assert attempt(os.mkdir, mine) == "EPERM"
    write(plain.mnt / "file")
    assert attempt(os.rename, plain.mnt / "file", mine) == "EPERM"
    assert attempt(os.link, plain.mnt / "file", mine) == "EPERM"
    write(plain.tree / ".mediafs-place-1", b"half made")
    assert attempt(os.stat, plain.mnt / ".mediafs-place-1") == "ENOENT"
    assert attempt(os.unlink, plain.mnt / ".mediafs-place-1") == "ENOENT"
    assert os.listdir(plain.mnt) == ["file"]


def test_the_store_cannot_be_reached_through_the_mount(plain):
    outside = plain.store / "mediafs.conf"
    os.symlink("../mediafs.conf", plain.mnt / "up")
    os.symlink(plain.store, plain.mnt / "absolute")
    # The links are resolved by the caller's kernel, in the caller's view: never by the daemon.
    assert attempt(read, plain.mnt / "up") == "ENOENT"
    assert os.path.realpath(plain.mnt / "..") == str(plain.mnt.parent)
    assert os.stat(plain.mnt / "absolute/mediafs.conf").st_dev == outside.stat().st_dev
    # A link put where a folder was, behind the daemon's back.
    os.mkdir(plain.mnt / "folder")
    write(plain.mnt / "folder/mediafs.conf", b"inside")
    handle = os.open(plain.mnt / "folder", os.O_RDONLY)
    os.rename(plain.tree / "folder", plain.tree / "moved")
    os.symlink("..", plain.tree / "folder")
    found = attempt(os.open, "mediafs.conf", os.O_RDONLY, dir_fd=handle)
    if isinstance(found, int):
        assert os.read(found, 100) == b"inside"
        os.close(found)
    os.close(handle)


def test_a_mount_for_reading_only(plain):
    write(plain.mnt / "file", b"x")
    plain.umount()
    plain.mount("ro")
    assert read(plain.mnt / "file") == b"x"
    for call in (lambda: write(plain.mnt / "new"), lambda: os.unlink(plain.mnt / "file"),
                 lambda: os.chmod(plain.mnt / "file", 0), lambda: os.mkdir(plain.mnt / "d"),
                 lambda: os.setxattr(plain.mnt / "file", "user.a", b""),
                 lambda: os.open(plain.mnt / "file", os.O_RDWR)):
        assert attempt(call) == "EROFS"


def test_clear_refusals(plain, tmp_path):
    """Each wrong mount says what is wrong, and leaves nothing behind."""
    def refused(*command):
        done = mediafs("mount", *command, check=False)
        assert done.returncode != 0
        return done.stderr
    other = Site(tmp_path, "other")
    assert "mounted already" in refused(plain.store, other.mnt)
    assert "mounted" in refused(other.store, plain.mnt)
    assert "unknown mount option" in refused(other.store, other.mnt, "-o", "frobnicate")
    assert "verify=" in refused(other.store, other.mnt, "-o", "verify=maybe")
    assert "not a store" in refused(tmp_path, other.mnt)
    assert "lie in each other" in refused(other.store, other.store / "tree")
    write(tmp_path / "file")
    assert "not a folder" in refused(other.store, tmp_path / "file")
    assert "No such file" in refused(other.store, tmp_path / "missing")


def test_options_of_fstab_are_taken(sites):
    site = sites("fstab").mount("defaults", "noauto", "nofail", "_netdev", "noatime", "x-gvfs-show",
                                "x-systemd.requires=network.target", "comment=what\\, ever", "rw")
    write(site.mnt / "file", b"x")
    assert read(site.mnt / "file") == b"x"


def test_a_file_opened_after_its_last_name_went_leaves_nothing(plain):
    """As fanotify does for who listens: the inode is held, and opened again."""
    write(plain.mnt / "file", b"x")
    plain.wait("file", "verified")  # nothing in the daemon is busy with it any more
    held = os.open(plain.mnt / "file", os.O_PATH)
    os.unlink(plain.mnt / "file")
    wait_for(lambda: sum(state["files"] for state in plain.status()["states"].values()) == 0,
             "the catalog to know that it went")
    with open(f"/proc/self/fd/{held}", "rb") as again:
        assert again.read() == b"x"
    os.close(held)
    plain.umount()
    checked = fsck(plain.store)
    assert checked.returncode == 0, checked.stdout


def test_a_dead_mount_is_cleaned_up(plain):
    write(plain.mnt / "file", b"x")
    os.stat(plain.mnt)  # the kernel remembers this
    plain.daemon.kill()
    plain.daemon.wait()
    plain.daemon = None
    assert attempt(os.stat, plain.mnt / "file") == "ENOTCONN"
    plain.mount()  # returns at once: the old mount is still there
    wait_for(lambda: attempt(read, plain.mnt / "file") == b"x", "the new mount")
    assert "removed the mount that a killed mediafs left" in plain.log_text()


def test_a_signal_ends_the_mount_cleanly(plain):
    handle = os.open(plain.mnt / "file", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(handle, b"written")
    plain.daemon.terminate()
    assert plain.daemon.wait(60) == 0
    plain.daemon = None
    assert attempt(os.write, handle, b"more") in ("ENOTCONN", "ECONNABORTED", "EIO")
    attempt(os.close, handle)
    assert read(plain.tree / "file") == b"written"
    plain.mount()
    plain.wait_state("file", "verified")


def new_digest(path, old):
    """It is verified; what the mapping brings late can take its digest away once more."""
    with contextlib.suppress(OSError):
        return (os.getxattr(path, "user.mediafs.state") == b"verified" and
                os.getxattr(path, "user.mediafs.digest") != old)
    return False


def test_a_mapping_written_while_others_read(plain):
    """Where reads pass through, a mapping of a handle opened meanwhile is not seen by the daemon."""
    path = plain.mnt / "clip"
    write(path, b"." * 100_000)
    plain.wait_state("clip", "verified")
    digest = os.getxattr(path, "user.mediafs.digest")
    reader = os.open(path, os.O_RDONLY)
    handle = os.open(path, os.O_RDWR)
    with mmap.mmap(handle, 100_000) as view:
        view[50_000:50_007] = b"changed"
    os.pwrite(handle, b"head", 0)
    assert os.pread(reader, 7, 50_000) == b"changed"
    assert os.pread(reader, 4, 0) == b"head"
    os.close(handle)
    os.close(reader)
    wait_for(lambda: new_digest(path, digest), "the new digest")
    # Once more, by the mapping alone.
    digest = os.getxattr(path, "user.mediafs.digest")
    reader = os.open(path, os.O_RDONLY)
    handle = os.open(path, os.O_RDWR)
    with mmap.mmap(handle, 100_000) as view:
        view[70_000:70_005] = b"again"
    os.close(handle)
    os.close(reader)
    wait_for(lambda: new_digest(path, digest), "the new digest")
    assert read(path) == read(plain.tree / "clip")


def test_background(plain):
    """Without -f the command returns when the mount answers; the daemon goes on."""
    plain.umount()
    mediafs("mount", plain.store, plain.mnt)
    write(plain.mnt / "file", b"x")
    assert read(plain.mnt / "file") == b"x"
    for _ in range(3):  # the next mount waits for the daemon that is still closing the store
        run("umount", plain.mnt)
        mediafs("mount", plain.store, plain.mnt)
        assert read(plain.mnt / "file") == b"x"
    run("umount", plain.mnt)
    wait_for(lambda: not store_is_held(plain), "the end of the daemon")


def store_is_held(site):
    """As the daemon does it: a lock on the first byte of run/lock."""
    with open(site.store / "run/lock", "rb+") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        except OSError:
            return True
        return False


@pytest.fixture
def ordinary(tmp_path):
    """ordinary(function, control): call function(home) as an ordinary user who may mount."""
    nobody = pwd.getpwnam("nobody")
    home = tmp_path / "home"
    home.mkdir()
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        os.chmod(parent, 0o755)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    device = tmp_path / "fuse"
    os.mknod(device, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
    os.chmod(device, 0o666)

    def call(function, control=False):
        def private_device():
            """Not every machine lets its users open /dev/fuse: this process sees one that does."""
            new_namespace, private, bind = 0x20000, 0x44000, 0x1000  # with MS_REC
            assert LIBC.unshare(new_namespace) == 0
            assert LIBC.mount(None, b"/", None, private, None) == 0
            assert LIBC.mount(os.fsencode(device), b"/dev/fuse", None, bind, None) == 0
            if control:
                assert LIBC.mount(b"none", b"/sys/fs/fuse/connections", b"fusectl", 0, None) == 0
        return as_user(lambda: function(home), nobody.pw_uid, nobody.pw_gid, before=private_device)
    return call


def test_as_an_ordinary_user(ordinary):
    """fusermount3, by an owner that is not root: nodes by name instead of by handle."""
    def use(home):
        site = Site(home, "mine").mount()
        try:
            os.makedirs(site.mnt / "a/b")
            write(site.mnt / "a/b/file", b"bytes")
            os.link(site.mnt / "a/b/file", site.mnt / "a/second")
            handle = os.open(site.mnt / "a/b/file", os.O_RDWR)
            os.rename(site.mnt / "a", site.mnt / "c")
            os.write(handle, b"BY")
            os.unlink(site.mnt / "c/b/file")
            os.write(handle, b"TE")
            found = [os.pread(handle, 10, 0), read(site.mnt / "c/second"), os.fstat(handle).st_nlink]
            os.unlink(site.mnt / "c/second")
            found += [os.fstat(handle).st_nlink, os.pread(handle, 10, 0)]
            os.close(handle)
            posix_names.long_paths(site.mnt)
            os.chmod(site.mnt / "c", 0o700)
            found.append(attempt(os.chown, site.mnt / "c", 0, 0))
            write(site.mnt / "last", b"x")
            site.wait_state("last", "verified")
            return found
        finally:
            run("fusermount3", "-u", site.mnt)
            assert site.daemon.wait(60) == 0
    found = ordinary(use)
    assert found == [b"BYTEs", b"BYTEs", 1, 0, b"BYTEs", "EPERM"]


def test_umount_waits_a_moment_for_whom_nobody_sees(plain):
    """A mount within it stands for a monitor that looks: no process has anything open."""
    (plain.mnt / "within").mkdir()
    run("mount", "-t", "tmpfs", "within", plain.mnt / "within")
    with subprocess.Popen([MEDIAFS, "umount", plain.mnt]) as umount:
        wait_for(lambda: "nanosleep" in pathlib.Path(f"/proc/{umount.pid}/wchan").read_text(),
                 "a pause")
        run("umount", plain.mnt / "within")
        assert umount.wait(PATIENCE) == 0
    assert plain.daemon.wait(PATIENCE) == 0
    plain.daemon = None


@pytest.mark.parametrize("control", [False, True])
def test_a_signal_while_reads_of_an_ordinary_user_are_parked(ordinary, control):
    """Who answers them writes to the mount's descriptor: it stays until nobody does any more."""
    def read_block(handle, index, found):
        found[index] = attempt(os.pread, handle, 4096, index * BLOCK)

    def use(home):
        (home / "tier").mkdir()
        site = Site(home, "mine", tier=home / "tier",
                    settings={"transfer.hydrate_timeout": "500ms"}).mount()
        try:
            write(site.mnt / "clip.mov", pattern(10 * BLOCK))
            site.wait()
            site.cmd("evict", site.mnt / "clip.mov")
            os.rename(home / "tier", home / "away")
            handle, found, readers = os.open(site.mnt / "clip.mov", os.O_RDONLY), {}, []
            for index in range(1, 9):
                readers.append(threading.Thread(target=read_block, args=(handle, index, found)))
                readers[-1].start()
                threading.Event().wait(0.02)  # so that they do not all end at one moment
            wait_for(lambda: found, "the first read to end")
            site.daemon.send_signal(signal.SIGTERM)
            code = site.daemon.wait(60)
            for reader in readers:
                reader.join()
            attempt(os.close, handle)
            return code, found, is_mounted(site.mnt)
        finally:
            site.close()
    code, found, mounted = ordinary(use, control)
    assert code == 0 and not mounted
    assert len(found) == 8 and set(found.values()) <= {
        "EIO", "ETIMEDOUT", "EINTR", "ENOTCONN", "ECONNABORTED", "EHOSTDOWN"}, found
