"""contrib/s3-policy.json is enough, allows no deleting, and names nothing that is not needed; a
server takes contrib/s3-lifecycle.json."""
import json
import pathlib
import uuid

import pytest

import s3_servers
from lib import pattern, wait_for
from s3_bucket import MIB, PART

CONTRIB = pathlib.Path(__file__).parents[2] / "contrib"
POLICY = CONTRIB / "s3-policy.json"


def set_policy(bucket, user, without=None):
    """As a person does: names put in, handed to the server. @without: an action taken out."""
    text = POLICY.read_text()
    for word, value in {"ACCOUNT": "", "USER": user, "BUCKET": bucket.name,
                        "PREFIX": "show 1"}.items():
        assert word in text
        text = text.replace(word, value)
    policy = json.loads(text)
    if without:
        for statement in policy["Statement"]:
            actions = statement["Action"]
            actions = [actions] if isinstance(actions, str) else actions
            statement["Action"] = [word for word in actions if word != without] or "s3:GetBucketAcl"
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))


def add_user(bucket, servers_base):
    """Another user than the bucket's owner: his name and a client; bucket.keys are his."""
    if bucket.kind != "ceph":
        pytest.skip("only our own server gets another user")
    name = f"cart-{uuid.uuid4().hex[:12]}"
    access, secret = s3_servers.Ceph.add_user(s3_servers.folder_of("ceph", servers_base), name)
    bucket.write_keys(access, secret)
    return name, bucket.client_of(access, secret)


@pytest.mark.slow
def test_all_but_deleting_works_with_the_policy(bucket, gate, sites, servers_base):
    name, client = add_user(bucket, servers_base)
    set_policy(bucket, name)

    def stored(path):
        return client.get_object(Bucket=bucket.name, Key=f"show 1/{path}")["Body"].read()
    files = {"note.txt": b"hello", "clip.mov": pattern(3 * PART + 5, 3), "sound.wav": pattern(MIB)}
    cart = sites("cart", tier=bucket.url(gate.port, more="&parallel=1")).mount()
    for path, data in files.items():
        if path != "clip.mov":
            (cart.mnt / path).write_bytes(data)
    cart.wait()
    # Killed in the middle of a large one, which goes on.
    gate.stall = b"partNumber=3&"
    (cart.mnt / "clip.mov").write_bytes(files["clip.mov"])
    wait_for(lambda: gate.stalled == 1, "the upload to be held")
    cart.kill()
    gate.cut()
    gate.stall = None
    gate.watch = b"clip.mov?partNumber=1&"
    cart.mount()
    cart.wait()
    assert gate.seen == []
    # Copied there.
    (cart.mnt / "again").mkdir()
    for path, data in files.items():
        (cart.mnt / "again" / path).write_bytes(data)
    cart.wait()
    assert len(gate.copies) >= 4
    for path, data in files.items():
        assert stored(path) == data and stored(f"again/{path}") == data
    # One that is not wanted any more is given up.
    gate.stall = b"partNumber=2&"
    (cart.mnt / "gone.mov").write_bytes(pattern(2 * PART, 7))
    wait_for(lambda: gate.stalled == 1, "the upload to be held")
    assert len(bucket.uploads()) == 1
    cart.kill()
    gate.cut()
    (cart.tree / "gone.mov").unlink()
    gate.stall = None
    cart.mount()
    wait_for(lambda: bucket.uploads() == [], "the upload to be given up")
    cart.wait()
    # Another site joins and reads; the cart evicts.
    editorial = sites("editorial", join=bucket.url()).mount()
    wait_for(lambda: (editorial.mnt / "again/clip.mov").exists(), "the tree at editorial")
    cart.cmd("evict", cart.mnt / "again", cart.mnt / "clip.mov")
    assert cart.state("clip.mov") == "evicted"
    for site in (cart, editorial):
        for path, data in files.items():
            assert (site.mnt / path).read_bytes() == data
            assert (site.mnt / "again" / path).read_bytes() == data
    assert "s3:DeleteObject" not in POLICY.read_text()
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.delete_object(Bucket=bucket.name, Key="show 1/note.txt")
    assert stored("note.txt") == b"hello"
    done = cart.cmd("tier", "test")
    assert done.returncode == 0


def test_the_policy_allows_only_what_is_needed(bucket, sites, servers_base):
    """Two more cannot be seen here: this server lets users do all with uploads that they began."""
    cart = sites("cart", tier=bucket.url())  # by the owner, so that it has tier.json
    name, _ = add_user(bucket, servers_base)
    set_policy(bucket, name)
    assert cart.cmd("tier", "test").returncode == 0
    for action in ("s3:GetObject", "s3:PutObject", "s3:ListBucket"):
        set_policy(bucket, name, without=action)
        assert cart.cmd("tier", "test", check=False).returncode != 0, action


def test_a_rule_gives_up_uploads_that_nobody_knows(bucket):
    text = (CONTRIB / "s3-lifecycle.json").read_text()
    assert "PREFIX" in text
    rules = json.loads(text.replace("PREFIX", "show 1"))
    bucket.client.put_bucket_lifecycle_configuration(Bucket=bucket.name,
                                                     LifecycleConfiguration=rules)
    rule, = bucket.client.get_bucket_lifecycle_configuration(Bucket=bucket.name)["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 14}
    assert "Expiration" not in rule
