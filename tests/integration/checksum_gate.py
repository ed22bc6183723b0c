"""What Ceph 16 and Swift do not do: a gate that compares CRC64NVME with what is sent, and shows it.

As Ceph 20 and Amazon's do it: a PUT (of a part, too) whose body has another one gets 400
BadDigest; HEAD and GET with x-amz-checksum-mode show that of the bytes that the server has. Where
the server does so itself, all is left to it. Either may be made to lie.
"""
import base64
import collections
import ctypes

from faulty import ERROR, Faulty, Link, Message, key_of, kind_of

HEADER = "x-amz-checksum-crc64nvme"
OTHER = "AAAAAAAAAAA="


class KeepingLink(Link):
    def forward(self, request, head=None, body=None):
        gate, kind = self.gate, kind_of(request)
        body = request.body if body is None else body
        sent = request.get(HEADER)
        gate.sent[kind] += sent is not None
        if gate.denied.get(kind):
            return refusal(gate.denied[kind].pop())
        checks = kind in ("PUT", "UploadPart", "own") and sent and not gate.is_kept_there
        if checks and sent != self.gate.text_of(body):
            answer = refusal("BadDigest")
        else:
            answer = super().forward(request, head, body)
        if checks and " 200 " in answer.first:
            answer.set(HEADER, sent)
        if request.get("x-amz-checksum-mode") and " 200 " in answer.first:
            self.show(request, answer)
        gate.refused[kind] += " 400 " in answer.first
        if kind in gate.lies and answer.get(HEADER):
            answer.set(HEADER, OTHER)
        return answer

    def show(self, request, answer):
        if self.gate.is_kept_there:
            return
        data = answer.body
        if request.first.startswith("HEAD"):
            bucket = self.gate.bucket
            data = bucket.client.get_object(Bucket=bucket.name, Key=key_of(request))["Body"].read()
        answer.set(HEADER, self.gate.text_of(data))


def refusal(code):
    body = ERROR % code.encode()
    return Message("HTTP/1.1 400 Bad Request", [("content-length", str(len(body)))], body)


class KeepingGate(Faulty):
    link = KeepingLink

    def __init__(self, bucket, library):
        self.bucket = bucket
        self.crc64 = ctypes.CDLL(str(library)).crc64
        self.crc64.argtypes, self.crc64.restype = [ctypes.c_char_p, ctypes.c_size_t], ctypes.c_uint64
        self.is_kept_there = bucket.keeps_checksums()
        self.sent = collections.Counter()     # requests with a checksum, by kind
        self.refused = collections.Counter()  # answers with 400, by kind
        self.met = collections.Counter()      # requests for objects, by kind
        self.lies = set()                     # kinds whose answers show another checksum
        self.denied = {}                      # kind: [code of each request that gets 400 instead]
        super().__init__(bucket.port)

    def text_of(self, data):
        return base64.b64encode(self.crc64(data, len(data)).to_bytes(8, "big")).decode()

    def take(self, request):
        self.met[kind_of(request)] += request.first.split(" ")[1].count("/") > 2
        return super().take(request)
