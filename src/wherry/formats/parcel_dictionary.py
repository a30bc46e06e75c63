"""What the documents of all channels and images have in common: the templates that stand before every parcel's documents.

Part of the format's version 1: no byte of them may change (docs/spec/parcel.md, "Dictionary"). Zeros stand where documents
differ.
"""

from __future__ import annotations

_KEY = b"0" * 16
_SIGNATURES = b'{"signatures":[{"keyid":"%b","sig":"%b"}],"signed":{"_type":' % (_KEY, b"0" * 128)
_DIGEST = b"0" * 64
_TIME = b"1970-01-01T00:00:00Z"
_END = b'"spec_version":"1.0.31","version":1'

_CONFIG = (
    b'{"architecture":"amd64","config":{"Cmd":["python"],"Entrypoint":["python"],"Env":["PATH=/usr/local/bin:/usr/bin:/bin"],'
    b'"ExposedPorts":{},"Labels":{},"User":"10001:10001","Volumes":{},"WorkingDir":"/app"},"created":"%b","history":[{"created":"%b",'
    b'"created_by":"","comment":""},{"created":"%b","created_by":"","empty_layer":true}],"os":"linux","rootfs":{"diff_ids":'
    b'["sha256:%b","sha256:%b"],"type":"layers"},"variant":"v7"}' % (_TIME, _TIME, _TIME, _DIGEST, _DIGEST)
)
_LAYER = b'{"digest":"sha256:%b","mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":0}' % _DIGEST
_MANIFEST = (
    b'{"annotations":{"org.opencontainers.image.base.digest":"sha256:%b","org.opencontainers.image.base.name":""},"config":{'
    b'"digest":"sha256:%b","mediaType":"application/vnd.oci.image.config.v1+json","size":0},"layers":[%b,%b],'
    b'"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}' % (_DIGEST, _DIGEST, _LAYER, _LAYER)
)
_RELEASED = b'{"diff_id":"sha256:%b","size":0}' % _DIGEST
_IMAGES = (
    b'{"linux/amd64":{"custom":{"layers":[%b,%b],"memory":0,"release":1},"hashes":{"sha256":"%b"},"length":0},'
    b'"linux/arm64":{"custom":{"health":{"command":[""],"seconds":30,"within":120},"layers":[' % (_RELEASED, _RELEASED, _DIGEST)
)
_ROLES = b",".join(
    b'"%b":{"keyids":["%b"],"threshold":1,"x-wherry-days":365}' % (role, _KEY)
    for role in (b"root", b"snapshot", b"targets", b"timestamp")
)
_KEYS = b'"%b":{"keytype":"ed25519","keyval":{"public":"%b"},"scheme":"ed25519"}' % (_KEY, _DIGEST)
_ROOT = b'%b"root","consistent_snapshot":true,"expires":"%b","keys":{%b,%b},"roles":{%b},%b,"x-wherry-days":365}}' % (
    _SIGNATURES,
    _TIME,
    _KEYS,
    _KEYS,
    _ROLES,
    _END,
)
_TARGETS = b'%b"targets","expires":"%b","spec_version":"1.0.31","targets":%b]}}},"version":1}}' % (_SIGNATURES, _TIME, _IMAGES)
_SNAPSHOT = b'%b"snapshot","expires":"%b","meta":{"targets.json":{"version":1}},%b}}' % (_SIGNATURES, _TIME, _END)
_TIMESTAMP = b'%b"timestamp","expires":"%b","meta":{"snapshot.json":{"version":1}},%b,"x-wherry-days":14}}' % (
    _SIGNATURES,
    _TIME,
    _END,
)

TEMPLATES = (_ROOT, _CONFIG, _MANIFEST, _TARGETS, _SNAPSHOT, _TIMESTAMP)
