"""What a sandboxed process does to itself before it runs a program: one layer after the other, then no way back.

This file's code is handed to a bare interpreter (`running.py`), which knows nothing of this package: standard library
only, and little of it, since every import costs start-up time. Whatever goes wrong is reported, and nothing runs.

    namespaces (network, processes, files, IPC), where the kernel gives them   →   user 65534, where it was root
    →   limits   →   no new privileges   →   Landlock   →   a process of its own   →   seccomp   →   the program
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

TYPE_CHECKING = False  # typing would cost more than the rest together
if TYPE_CHECKING:
    from typing import Any

NOBODY = 65534
THREADS = 128  # of a program
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
SPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 4096, 16384, 1 << 18, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER, SIGKILL = 2, 9
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # Landlock's numbers are the same everywhere
READ_FILE, READ_DIR, WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CAPSET = {"x86_64": 126, "aarch64": 91}

_libc = ctypes.CDLL(None, use_errno=True)


def enter(settings: dict[str, Any], source: str) -> None:
    """Confine this process, say so through the descriptor `settings["report"]`, and run `source` as `__main__`."""
    report = settings["report"]
    try:
        layers = _confine(settings)
    except BaseException as error:
        os.write(report, f"no {error}".encode())
        os._exit(1)
    os.write(report, f"ok {' '.join(layers)}".encode())
    os.close(report)
    main = type(sys)("__main__")
    sys.modules["__main__"] = main
    sys.argv = ["program.py"]
    exec(compile(source, "program.py", "exec", dont_inherit=True), main.__dict__)


def _confine(settings: dict[str, Any]) -> list[str]:
    """Apply every layer; returns their names, in the program's process only."""
    _die_with_parent()
    if os.getppid() != settings["parent"]:
        os._exit(1)
    os.umask(0o022)
    was_root = os.getuid() == 0
    layers = _namespaces(settings, was_root)
    if os.getuid() == 0 or os.geteuid() == 0:
        raise OSError("it could not give up being root")
    layers += ["user"] if was_root else []
    _limit(settings, counted_alone="user-namespace" in layers)
    _must(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    _landlock(settings["readable"])
    _die_with_parent()  # changing the user has cleared it
    child = os.fork()
    if child:
        _wait_for(child)
    _die_with_parent()
    _drop_capabilities(settings["machine"])
    _must(_libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "hiding its memory")
    _seccomp(settings["filter"])
    _check_layers()
    return [*layers, "limits", "no-new-privileges", "landlock", "seccomp"]


def _namespaces(settings: dict[str, Any], was_root: bool) -> list[str]:
    """Spaces of its own; afterwards the process is root nowhere but, without a use for it, in its user namespace."""
    apart = was_root and _libc.unshare(SPACES) == 0
    has_tree = apart and _own_tree(settings)
    if was_root:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # cleared with the user; without it /proc/self stays root's
    if apart:
        # For the count of threads alone, which would include everybody else's of this user.
        counted_alone = _libc.unshare(CLONE_NEWUSER) == 0
    else:
        user, group = os.getuid(), os.getgid()
        counted_alone = apart = _libc.unshare(CLONE_NEWUSER | SPACES) == 0
        if apart:
            _map_to_itself(user, group)
            has_tree = _own_tree(settings)
    names = {"network-namespace": apart, "pid-namespace": apart, "file-tree": has_tree, "user-namespace": counted_alone}
    return [name for name, there in names.items() if there]


def _map_to_itself(user: int, group: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _own_tree(settings: dict[str, Any]) -> bool:
    """A root directory with nothing in it but what the interpreter reads; False where mounting is not allowed."""
    if _mount(None, "/", MS_REC | MS_PRIVATE) or _mount("tmpfs", "/proc", 0, "tmpfs"):
        return False
    made = {"/proc"}
    for path, link in settings["tree"]:
        inside = "/proc" + path
        os.makedirs(os.path.dirname(inside), mode=0o755, exist_ok=True)
        if link:
            os.symlink(link, inside)
            continue
        if any(path.startswith(folder.removeprefix("/proc") + "/") for folder in made - {"/proc"}):
            continue  # inside of what is there already
        if os.path.isdir(path):
            os.makedirs(inside, mode=0o755, exist_ok=True)
            made.add(inside)
        else:
            os.close(os.open(inside, os.O_CREAT | os.O_WRONLY, 0o644))
        if _mount(path, inside, MS_BIND | MS_REC):
            return False
    os.chdir("/proc")
    if _libc.syscall(PIVOT_ROOT[settings["machine"]], b".", b".") == 0:
        _must(_libc.umount2(b".", MNT_DETACH), "leaving the file tree")
    else:
        os.chroot(".")  # the first file system of a machine cannot be pivoted away
    os.chdir("/")
    return True


def _mount(source: str | None, target: str, flags: int, kind: str | None = None) -> int:
    return int(_libc.mount(*(text and text.encode() for text in (source, target, kind)), ctypes.c_ulong(flags), None))


def _limit(settings: dict[str, Any], counted_alone: bool) -> None:
    memory = settings["memory_mb"] << 20
    threads = THREADS if counted_alone else _tasks_of(os.getuid()) + THREADS
    hard_stack = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = memory // 2 if hard_stack == resource.RLIM_INFINITY else min(memory // 2, hard_stack)
    for name, value in (
        ("AS", memory), ("STACK", stack), ("CPU", settings["cpu_s"]), ("NPROC", threads), ("NOFILE", 64),
        ("FSIZE", 0), ("CORE", 0), ("MEMLOCK", 0), ("MSGQUEUE", 0),
    ):  # fmt: skip
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _tasks_of(user: int) -> int:
    """Threads of a user, which the kernel's limit counts together; a guess where /proc is gone."""
    count = 0
    try:
        for name in os.listdir("/proc"):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == user:
                count += len(os.listdir(f"/proc/{name}/task"))
    except OSError:
        return max(count, 1024)
    return count or 1024


def _landlock(readable: list[str]) -> None:
    """No file can be opened but those below `readable`; no TCP port, no abstract socket, no signal to the outside."""
    abi = _libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        raise OSError("this kernel has no Landlock (Linux 5.13, listed in /sys/kernel/security/lsm)")
    files = (1 << 13) - 1  # everything that the first version knows, then: refer, truncate, ioctl on devices
    files |= (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0) | (1 << 15 if abi >= 5 else 0)
    attributes = (ctypes.c_uint64 * 3)(files, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _libc.syscall(CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), 0)
    _must(min(ruleset, 0), "Landlock")
    for path in readable:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # a library folder that this system does not have
        folder = os.path.isdir(path)
        rights = READ_FILE | (READ_DIR if folder else 0) | (WRITE_FILE if path == "/dev/null" else 0)
        rule = rights.to_bytes(8, sys.byteorder) + opened.to_bytes(4, sys.byteorder)
        _must(_libc.syscall(ADD_RULE, ruleset, 1, rule, 0), f"Landlock's rule for {path}")
        os.close(opened)
    _must(_libc.syscall(RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


def _drop_capabilities(machine: str) -> None:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    _must(_libc.syscall(CAPSET[machine], ctypes.byref(header), ctypes.byref(none)), "dropping capabilities")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def _seccomp(steps: bytes) -> None:
    program = _Program(len(steps) // 8, steps)
    _must(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp")


def _check_layers() -> None:
    """Trust nothing that was not tried: a layer that the kernel accepted and does not keep is a missing one."""
    if _libc.socket(1, 1, 0) >= 0:
        raise OSError("seccomp let a socket through")
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
    except OSError:
        return
    raise OSError("Landlock let / be opened")


def _die_with_parent() -> None:
    _must(_libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "ending with its parent")


def _wait_for(child: int) -> None:
    """End as the program's process ends; killed together with it, as one group."""
    os.closerange(3, 1 << 20)  # whoever reads from the program must see its end
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)


def _must(result: int, what: str) -> None:
    if result != 0:
        raise OSError(f"{what} failed: {os.strerror(ctypes.get_errno())}")
