"""A bucket for a test, on a real server; awscli's own library looks at what lies there."""
import contextlib
import os
import uuid

import pytest

import s3_servers
from gate import Gate
from lib import run

MIB = 1 << 20
PART = 16 * MIB
SIDE_BY_SIDE = 8  # small files, each way
PARALLEL = 4  # parts on their way, where it begins
AT_MOST = f"&parallel={PARALLEL}"  # for tests that count what is sent again


class Bucket:
    """A bucket of the test's own, and a client that is not ours."""

    def __init__(self, kind, server, folder):
        self.kind, self.server, self.folder = kind, server, folder
        self.name = f"mediafs-{uuid.uuid4().hex[:16]}"
        self.keys = folder / "s3.keys"
        self.write_keys()
        self.client = self.client_of(s3_servers.access_key(kind), s3_servers.SECRET)
        self.client.create_bucket(Bucket=self.name)

    def client_of(self, access, secret):
        session = pytest.importorskip("awscli.botocore.session")
        return session.get_session().create_client(
            "s3", endpoint_url=self.server, region_name="us-east-1", aws_access_key_id=access,
            aws_secret_access_key=secret)

    @property
    def port(self):
        return int(self.server.rsplit(":", 1)[1])

    def write_keys(self, access=None, secret=s3_servers.SECRET):
        self.keys.touch(0o600)
        self.keys.write_text(f"aws_access_key_id = {access or s3_servers.access_key(self.kind)}\n"
                             f"aws_secret_access_key = {secret}\n")

    def url(self, port=None, scheme="http", more="", prefix="show 1"):
        return (f"s3://{self.name}/{prefix}?endpoint={scheme}://127.0.0.1:{port or self.port}"
                f"&credentials={self.keys}{more}").replace(" ", "%20")

    def media(self):
        """Names and sizes of what lies there, but for mediafs's own."""
        found = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            for item in page.get("Contents", []):
                name = item["Key"].removeprefix("show 1/")
                if not name.startswith(".mediafs/"):
                    found[name] = item["Size"]
        return found

    def get(self, name):
        return self.client.get_object(Bucket=self.name, Key=f"show 1/{name}")["Body"].read()

    def put(self, name, data):
        self.client.put_object(Bucket=self.name, Key=f"show 1/{name}", Body=data)

    def keeps_checksums(self):
        """As somebody else's library finds it: a checksum that was sent is shown again."""
        self.client.put_object(Bucket=self.name, Key="probe", Body=b"1", ChecksumAlgorithm="SHA256")
        head = self.client.head_object(Bucket=self.name, Key="probe", ChecksumMode="ENABLED")
        self.client.delete_object(Bucket=self.name, Key="probe")
        return "ChecksumSHA256" in head

    def uploads(self):
        return self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])

    def remove(self):
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            for item in page.get("Contents", []):
                self.client.delete_object(Bucket=self.name, Key=item["Key"])
        self.client.delete_bucket(Bucket=self.name)


@pytest.fixture(scope="session")
def servers_base(tmp_path_factory):
    """The folder below which all workers of a run share servers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def servers(servers_base):
    """Start a server when it is first asked for."""
    base = servers_base
    with contextlib.ExitStack() as stack:
        urls = {}

        def get(kind):
            if kind not in urls:
                urls[kind] = stack.enter_context(s3_servers.shared(kind, base))
            return urls[kind]
        yield get


def make_bucket(kind, servers, folder):
    server = servers(kind)
    if not server:
        pytest.skip(f"no packages for {kind}")
    return Bucket(kind, server, folder)


@pytest.fixture(scope="session")
def shared_buckets(servers, tmp_path_factory):
    """One for all tests of a worker, by the kind of its server."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = make_bucket(kind, servers, tmp_path_factory.mktemp(kind))
        return made[kind]
    return get


@pytest.fixture
def bucket(servers, tmp_path):
    return make_bucket(s3_servers.USUAL, servers, tmp_path)


@pytest.fixture(params=[s3_servers.USUAL, pytest.param("swift", marks=pytest.mark.slow)])
def any_bucket(request, servers, tmp_path):
    return make_bucket(request.param, servers, tmp_path)


@pytest.fixture
def gate(bucket):
    gate = Gate(bucket.port)
    yield gate
    gate.close()


@pytest.fixture
def any_gate(any_bucket):
    gate = Gate(any_bucket.port)
    yield gate
    gate.close()


def make_certificate(folder):
    key, certificate = folder / "tls.key", folder / "tls.pem"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
        certificate, "-days", "1", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1")
    return certificate, key


def tier_error(site):
    return site.status()["moving"].get("tier_error") or ""
