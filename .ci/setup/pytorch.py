"""Writes stand-ins for the CUDA libraries that PyTorch's Python binding asks the loader for: pytorch.py LIBRARIES

LIBRARIES is torch/lib with the shared objects of the wheel that work without CUDA. libtorch_python.so is linked to
libtorch_cuda, cuDNN, cuFile and NCCL all the same, together 5 GB that a CPU never calls. For each library that is
not there, gcc makes a shared object with the same name, the same symbols under the same versions, and nothing
behind them: the loader is content, `torch.cuda.is_available()` is False, and a call into one would be a crash.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

# C++ data rather than code: virtual tables and guards.
DATA = re.compile(r"_ZT[VTS]|_ZGV")


def readelf(*arguments):
    return subprocess.run(["readelf", "--wide", *arguments], check=True, capture_output=True, text=True).stdout


def needed(library):
    return re.findall(r"\(NEEDED\).*\[(.+)\]", readelf("--dynamic", library))


def symbols(library):
    """(undefined, defined) names as readelf prints them: `name` or `name@VERSION`."""
    undefined, defined = set(), set()
    for line in readelf("--dyn-syms", library).splitlines():
        fields = line.split()
        if len(fields) < 8 or not fields[0].rstrip(":").isdigit():
            continue
        if fields[6] != "UND":
            defined.add(fields[7])
        elif fields[4] != "WEAK":    # a weak one may stay undefined
            undefined.add(fields[7])
    return undefined, defined


def version_origins(library):
    """Which library each wanted symbol version comes from."""
    origins, origin = {}, None
    for line in readelf("--version-info", library).splitlines():
        if found := re.search(r"File: (\S+)\s+Cnt", line):
            origin = found[1]
        elif origin and (found := re.search(r"Name: (\S+)\s+Flags", line)):
            origins[found[1]] = origin
    return origins


def of_the_system(name):
    """Where the linker finds a library of the system, if it does."""
    path = subprocess.run(["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout.strip()
    return Path(path) if Path(path).is_absolute() else None


PREAMBLE = """
static char nothing[65536];
static void *method(void) { return nothing; }
static void *information[4] = { nothing, "stand_in" };
static void *table[] = { 0, information, method, method, method, method, method, method, method, method };
"""


def definition(name):
    """In C. Starting PyTorch reads the name in a type's information and what some functions return."""
    if name.startswith("_ZTI"):
        return f'void *{name}[4] = {{ nothing, "{name[4:]}" }};\n'
    if DATA.match(name):
        return f"void *{name}[32];\n"
    if re.search("C[12]E", name):
        return f"void {name}(void **self) {{ self[0] = table + 2; self[1] = 0; }}\n"
    return f"void *{name}(void) {{ return nothing; }}\n"


def write_stand_in(path, versions):
    """`versions` maps a version (or "") to the symbols under it."""
    names = sorted({name for group in versions.values() for name in group})
    source = PREAMBLE + "".join(map(definition, names))
    script = "".join(
        f"{version} {{ global: {'; '.join(sorted(group))}; }};\n" for version, group in versions.items() if version
    )
    with tempfile.TemporaryDirectory() as scratch:
        code, map_file = Path(scratch, "stand_in.c"), Path(scratch, "versions.map")
        code.write_text(source)
        map_file.write_text(script)
        command = ["gcc", "-shared", "-fPIC", "-fno-builtin", "-w", code, "-o", path, f"-Wl,-soname,{path.name}"]
        subprocess.run(command + ([f"-Wl,--version-script,{map_file}"] if script else []), check=True)


def main(folder):
    present = sorted(path for path in folder.iterdir() if ".so" in path.name)
    beside = {path.name for path in folder.parent.parent.glob("nvidia/*/lib/*.so*")}
    known = {path.name for path in present} | beside
    wanted = {}
    unversioned, defined, system = set(), set(), set()
    for library in present:
        undefined, own = symbols(library)
        defined |= {name.split("@")[0] for name in own}
        origins = version_origins(library)
        for name in needed(library):
            if name in known:
                continue
            if path := of_the_system(name):
                system.add(path)
            else:
                wanted.setdefault(name, {})
        for symbol in undefined:
            name, _, version = symbol.partition("@")
            if not version:
                unversioned.add(name)
            elif (origin := origins.get(version)) in wanted:
                wanted[origin].setdefault(version, set()).add(name)
    for path in system:
        defined |= {name.split("@")[0] for name in symbols(path)[1]}
    # What has no version does not say where it comes from. The loader does not mind which library has it.
    python = re.compile(r"_?Py[A-Z_]")
    anonymous = {name for name in unversioned - defined if not python.match(name)}
    if wanted and anonymous:
        wanted.setdefault("libtorch_cuda.so", {})[""] = anonymous
    for name, versions in sorted(wanted.items()):
        write_stand_in(folder / name, versions)
        print(f"setup: stand-in for {name}, {sum(map(len, versions.values()))} symbols")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
