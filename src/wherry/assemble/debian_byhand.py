"""What Debian's maintainer scripts would have made, and an image needs: made by hand, and listed here.

Scripts never run. Whatever is not in this module is not done: no ld.so.cache (the loader finds its default folders
without), no compiled schemas, font or icon caches, no users but those below, no `/bin/sh`.
"""

from __future__ import annotations

from collections.abc import Mapping

USER = "wherry"
USER_ID = 10001

# base-passwd: who exists. Nobody can log in: there is no shell.
PASSWD = f"""root:x:0:0:root:/root:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
{USER}:x:{USER_ID}:{USER_ID}:{USER}:/home/{USER}:/usr/sbin/nologin
"""
GROUP = f"""root:x:0:
tty:x:5:
staff:x:50:
nogroup:x:65534:
{USER}:x:{USER_ID}:
"""
# libc-bin: how names are looked up.
NSSWITCH = """passwd: files
group: files
shadow: files
gshadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
"""
# netbase, and the installer: an engine puts its own file over it.
HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"

BASE_FILES: Mapping[str, str] = {
    "etc/passwd": PASSWD,
    "etc/group": GROUP,
    "etc/nsswitch.conf": NSSWITCH,
    "etc/hosts": HOSTS,
    "etc/timezone": "Etc/UTC\n",  # tzdata
}
BASE_LINKS: Mapping[str, str] = {
    "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",  # tzdata
    "usr/lib/ssl/cert.pem": "/etc/ssl/certs/ca-certificates.crt",  # openssl, whose program is not in the base
    "usr/lib/ssl/certs": "/etc/ssl/certs",
    "var/run": "/run",  # base-files
    "var/lock": "/run/lock",
}
BASE_DIRECTORIES: Mapping[str, int] = {
    "tmp": 0o1777,
    "var/tmp": 0o1777,
    "run/lock": 0o1777,
    "root": 0o700,
    # Owners are 0:0 in every layer, so the home is open to whoever the container runs as.
    f"home/{USER}": 0o1777,
    **dict.fromkeys(("dev", "proc", "sys", "run", "home", "mnt", "opt", "srv", "usr/local/bin", "usr/local/lib"), 0o755),
}
# usrmerge: folders of the root that are links, each made if the image has the folder below usr.
MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
MERGED_ALWAYS = ("bin", "lib", "sbin")

CERTIFICATES = "usr/share/ca-certificates/"
CERTIFICATE_BUNDLE = "etc/ssl/certs/ca-certificates.crt"  # ca-certificates

# update-alternatives: package, link, target beside it; the first that is there wins.
ALTERNATIVES: tuple[tuple[str, str, str], ...] = (
    ("libopenblas0-pthread", "libopenblas.so.0", "openblas-pthread/libopenblas.so.0"),
    ("libopenblas0-pthread", "libblas.so.3", "openblas-pthread/libblas.so.3"),
    ("libopenblas0-pthread", "liblapack.so.3", "openblas-pthread/liblapack.so.3"),
    ("libblas3", "libblas.so.3", "blas/libblas.so.3"),
    ("liblapack3", "liblapack.so.3", "lapack/liblapack.so.3"),
    ("gawk", "awk", "gawk"),
    ("mawk", "awk", "mawk"),
)
