"""Which files of a package go into the asset, and how they are laid down there."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = ["content_digest", "lay_down", "package_files", "package_root"]

_GENERATED: Final = frozenset({"__pycache__", "cdk.out", "node_modules"})
_COMPILED: Final = frozenset({".pyc", ".pyo"})


def package_root(package: str) -> Path:
    """The directory that ``import package`` would read; nothing is imported.

    Raises:
        ValueError: it is not a package, not importable from here, or not one directory.
    """
    if not package.isidentifier():
        raise ValueError(f"package={package!r}: give the name of a top-level package, as in 'shop' (not 'shop.tasks')")
    try:
        spec = find_spec(package)
    except ValueError:  # a module without a spec, as __main__ is
        spec = None
    if spec is None:
        raise ValueError(
            f"package={package!r} cannot be imported from here: run from the directory that holds it, "
            "put that directory on PYTHONPATH, or install the project (pip install -e .)"
        )
    # A package without __init__.py has a location for each entry of sys.path that holds it.
    roots = {Path(location).resolve() for location in spec.submodule_search_locations or ()}
    if len(roots) != 1 or not all(root.is_dir() for root in roots):
        found = ", ".join(sorted(map(str, roots))) or spec.origin
        raise ValueError(f"package={package!r} is {found}: it has to be a package in one directory")
    return roots.pop()


def package_files(root: Path, exclude: Sequence[str]) -> dict[str, Path]:
    """The files below a package's root that belong into the asset, by their path relative to it.

    Symbolic links are followed. See `TaskCode.from_package` for what is left out.

    Raises:
        ValueError: a pattern is not relative to the root; or a link is broken or leads to a directory above it.
    """
    return dict(_walk(root, (), _patterns(exclude), (root.resolve(),)))


def _walk(
    directory: Path, relative: tuple[str, ...], patterns: Sequence[Sequence[str]], above: tuple[Path, ...]
) -> Iterator[tuple[str, Path]]:
    for entry in sorted(directory.iterdir()):
        path = (*relative, entry.name)
        if _never(entry) or any(_matches(path, pattern) for pattern in patterns):
            continue
        if entry.is_dir():
            real = entry.resolve()
            if real in above:
                raise ValueError(f"{entry} links to {real}, which contains it: remove the link, or give it in exclude=")
            yield from _walk(entry, path, patterns, (*above, real))
        elif entry.is_file():
            yield "/".join(path), entry
        else:
            raise ValueError(
                f"{entry} is neither file nor directory, or a broken link: remove it, or give it in exclude="
            )


def _never(entry: Path) -> bool:
    return entry.name.startswith(".") or entry.name in _GENERATED or entry.suffix in _COMPILED


def _patterns(exclude: Sequence[str]) -> list[list[str]]:
    if isinstance(exclude, str):
        raise ValueError(f"exclude={exclude!r} is one string: give a list, [{exclude!r}]")  # noqa: TRY004
    patterns = []
    for pattern in exclude:
        parts = pattern.rstrip("/").split("/")
        if "\\" in pattern or not all(parts) or {".", ".."} & set(parts):
            raise ValueError(
                f"exclude={pattern!r}: a pattern is relative to the package, with '/' between names, "
                "as in 'tests', 'data/*.csv' or '**/fixtures'"
            )
        patterns.append(parts)
    return patterns


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a pattern matches the whole path: ``*`` within a name, ``**`` any number of names."""
    if not pattern:
        return not path
    first, *rest = pattern
    if first == "**":
        return any(_matches(path[skipped:], rest) for skipped in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], first) and _matches(path[1:], rest)


def content_digest(files: Mapping[str, Path]) -> str:
    """A hash of names and contents, whatever the files' directory, times and modes."""
    digest = sha256()
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"{len(name)}:{name}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()


def lay_down(files: Mapping[str, Path], directory: Path) -> None:
    """Copy files to their names below a directory, readable by the user that Lambda runs functions as."""
    for name, path in files.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
