"""Builds the images of deploy/Dockerfile without an engine: each of its steps runs in a root of its own, and what it makes is tried.

A base image is an overlay of this machine's own root; `scratch` is an empty folder. Then the programs run in nothing but their image, as
their image's user: the sidecar, the redirect in a network namespace with both tools, the control plane with lanectl beside it.
"""
import argparse
import ctypes
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
STEP_TIMEOUT_S = 3600
ANSWER_TIMEOUT_S = 60
CLONE_NEWNET = 0x40000000
# Of the Service of an installation; a cluster's resolver knows it.
NAME = "laneway-control.laneway-system.svc"
# Of this machine: an image's PATH has only its own programs.
CHROOT = shutil.which("chroot", path=f"{os.environ['PATH']}:/usr/sbin") or "chroot"


class Stage:
    """What the steps since one FROM have made."""

    def __init__(self, name, base, root):
        self.name, self.base, self.root = name, base, root
        self.folder, self.variables, self.user = "/", {}, "0:0"


class Build:
    """Reads the Dockerfile's instructions one by one; one that it does not know is an error."""

    def __init__(self, folder, profile):
        self.folder, self.profile, self.stages = folder, profile, {}

    def run(self):
        text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
        stage = None
        for line in text.splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            word, rest = line.split(None, 1)
            if word == "FROM":
                base, _, name = rest.split()
                stage = self.stages[name] = Stage(name, base, self.root_for(name, base))
            elif word == "ARG":
                stage.variables["PROFILE"] = self.profile
            elif word == "ENV":
                key, value = rest.split("=", 1)
                stage.variables[key] = value
            elif word == "WORKDIR":
                stage.folder = rest
                inside(stage, rest).mkdir(parents=True, exist_ok=True)
            elif word == "COPY":
                self.copy(stage, rest.split())
            elif word == "RUN":
                self.step(stage, rest)
            elif word == "USER":
                stage.user = rest
            elif word != "CMD":
                raise SystemExit(f"{DOCKERFILE}: {word} is not known here")
        return self.stages

    def root_for(self, name, base):
        root = self.folder / name
        root.mkdir()
        if base != "scratch":
            upper, work = self.folder / f"{name}.upper", self.folder / f"{name}.work"
            upper.mkdir()
            work.mkdir()
            options = f"lowerdir=/,upperdir={upper},workdir={work}"
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, root], check=True)
            for special in ("proc", "dev"):
                subprocess.run(["mount", "--bind", f"/{special}", root / special], check=True)
        return root

    def copy(self, stage, words):
        if words[0].startswith("--from="):
            source = inside(self.stages[words[0].removeprefix("--from=")], words[1])
            shutil.copytree(source, inside(stage, words[2]), symlinks=True, dirs_exist_ok=True)
        elif words[0] == ".":
            listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True)
            for name in filter(None, listed.stdout.decode().split("\0")):
                self.place(ROOT / name, inside(stage, stage.folder) / name)
        else:
            self.place(ROOT / words[0], inside(stage, words[1]))

    @staticmethod
    def place(source, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)

    def step(self, stage, command):
        say(f"{stage.name}: {command}")
        # What cargo builds is kept beside this checkout's own, for the next time.
        kept = ROOT / "target" / "image"
        kept.mkdir(parents=True, exist_ok=True)
        cache = stage.root / "cache"
        cache.mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", kept, cache], check=True)
        variables = {**os.environ, **stage.variables, "CARGO_TARGET_DIR": "/cache"}
        script = f"cd {shlex.quote(stage.folder)} && {command}"
        subprocess.run([CHROOT, stage.root, "sh", "-euc", script], env=variables, check=True, timeout=STEP_TIMEOUT_S, stdout=sys.stderr)


def inside(stage, path):
    return stage.root / path.lstrip("/")


def say(text):
    print(text, file=sys.stderr, flush=True)


def in_image(stage, *command, namespace=(), user=None, **more):
    """The program of an image in its root alone, as its user."""
    uid, gid = (user or stage.user).split(":")
    words = [*namespace, CHROOT, f"--userspec={uid}:{gid}", stage.root, *command]
    return subprocess.run([str(word) for word in words], env=dict(stage.variables), text=True, capture_output=True, timeout=ANSWER_TIMEOUT_S, check=False, **more)


def furnish(stage):
    """What every engine puts into a container."""
    for special in ("dev", "proc"):
        (stage.root / special).mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", f"/{special}", stage.root / special], check=True)
    (stage.root / "etc").mkdir(exist_ok=True)
    (stage.root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (stage.root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")


def try_sidecar(stage):
    said = in_image(stage, "laneway-proxy", "--version")
    assert said.returncode == 0 and "laneway-proxy" in said.stdout, said


def try_redirect(stage):
    """In a network namespace, as an init container is: root with NET_ADMIN."""
    for backend, shows in (("nft", ["nft", "list", "ruleset"]), ("iptables", ["iptables-save", "-t", "nat"])):
        script = " && ".join([f"ip link set lo up", f"{CHROOT} {stage.root} laneway-init --backend={backend}", f"{CHROOT} {stage.root} {' '.join(shows)}"])
        environment = {"PATH": f"{stage.variables['PATH']}:{os.environ['PATH']}"}
        said = subprocess.run(["unshare", "--net", "sh", "-euc", script], env=environment, text=True, capture_output=True, timeout=ANSWER_TIMEOUT_S, check=False)
        assert said.returncode == 0 and "15401" in said.stdout, f"{backend}: {said}"


def try_control_plane(stage):
    data = stage.root / "data"
    data.mkdir()
    os.chown(data, 65532, 65532)
    words = [CHROOT, "--userspec=65532:65532", stage.root, "laneway-control", "--store=/data/store.db", "--discovery-listen=127.0.0.1:0", "--api-listen=127.0.0.1:0"]
    process = subprocess.Popen([str(word) for word in words], env=dict(stage.variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        ready = process.stdout.readline()
        assert "api=" in ready, process.stderr.read()
        server = "http://" + ready.split("api=")[1].strip()
        said = in_image(stage, "lanectl", "--server", server, "check")
        assert said.returncode == 0 and "answers" in said.stdout, said
        # By name: a static program reads /etc/hosts, and asks the resolver, without the libraries of a C library.
        for name in ("localhost", NAME):
            said = in_image(stage, "lanectl", "--server", server.replace("127.0.0.1", name), "check")
            assert said.returncode == 0 and "answers" in said.stdout, said
    finally:
        process.terminate()
        process.wait(ANSWER_TIMEOUT_S)
        shutil.rmtree(data)


def leave_network():
    """What is tried reaches nothing but a loopback of its own, with a resolver that knows one name."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare the network")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.1", 53))
    threading.Thread(target=resolve, args=(resolver,), daemon=True).start()


def resolve(resolver):
    """Answers by RFC 1035: address 127.0.0.1 for NAME, nothing of another kind, no other name."""
    known = b"".join(bytes([len(label)]) + label.encode() for label in NAME.split(".")) + b"\0"
    while True:
        query, peer = resolver.recvfrom(512)
        end = query.index(b"\0", 12) + 1
        is_known, is_address = query[12:end].lower() == known, query[end:end + 2] == b"\0\1"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\x7f\0\0\1" if is_known and is_address else b""
        flags = b"\x85\x80" if is_known else b"\x85\x83"
        counts = b"\0\1" + (b"\0\1" if answer else b"\0\0") + b"\0\0\0\0"
        resolver.sendto(query[:2] + flags + counts + query[12:end + 4] + answer, peer)


def size(root):
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def main():
    parser = argparse.ArgumentParser(prog="./x image", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="release", help="of the build: release (default) or quick")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("./x image makes roots and namespaces: run it as root")
    if os.environ.get("LANEWAY_IMAGE_ISOLATED") != "1":
        os.environ["LANEWAY_IMAGE_ISOLATED"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    folder = Path(tempfile.mkdtemp(prefix="laneway-image-"))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    started, failed = time.monotonic(), 0
    stages = Build(folder, arguments.profile).run()
    leave_network()
    for name, attempt in (("proxy", try_sidecar), ("init", try_redirect), ("control", try_control_plane)):
        stage = stages[name]
        programs = [path for path in (stage.root / "usr/local/bin").iterdir()]
        dynamic = [path.name for path in programs if b"INTERP" in subprocess.run(["readelf", "-lW", path], capture_output=True, check=True).stdout]
        try:
            assert not dynamic, f"not static: {dynamic}"
            of_image = size(stage.root)
            furnish(stage)
            attempt(stage)
            print(f"ok      laneway/{name}: {of_image / 2**20:.1f} MiB, {', '.join(sorted(path.name for path in programs))}")
        except (AssertionError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"FAILED  laneway/{name}: {error}")
    print(f"\n{3 - failed} passed, {failed} failed ({time.monotonic() - started:.0f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
