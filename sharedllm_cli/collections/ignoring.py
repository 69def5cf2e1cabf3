"""`.sharedllmignore`: what a collection leaves out of its folders, in the syntax of `.gitignore`."""

from __future__ import annotations

from pathlib import Path

from pathspec import GitIgnoreSpec

IGNORE_FILE = ".sharedllmignore"
_MOST_BYTES = 1 << 20


class Ignoring:
    """The rules of the ignore files in the folders of some roots; each file is read once.

    As with git, a deeper file's rules come after those of the folders above it, and nothing within a folder that is
    left out comes back.
    """

    def __init__(self, roots: list[Path]) -> None:
        self._roots = [Path(root) for root in roots if Path(root).is_dir()]
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        self._over: dict[Path, list[tuple[Path, GitIgnoreSpec]]] = {}
        self.problems: list[str] = []
        """One sentence for every ignore file that can't be read."""

    def __call__(self, path: Path, folder: bool) -> bool:
        """Whether a path within the roots is left out."""
        ignored = False
        if path.parent not in self._over:
            specs = ((above, self._spec(above)) for above in self._folders_over(path))
            self._over[path.parent] = [(above, spec) for above, spec in specs if spec is not None]
        for above, spec in self._over[path.parent]:
            relative = path.relative_to(above).as_posix() + ("/" if folder else "")
            said = spec.check_file(relative).include
            ignored = ignored if said is None else said
        return ignored

    def _folders_over(self, path: Path) -> list[Path]:
        """The folders from a root down to the one that holds the path."""
        roots = [root for root in self._roots if path.is_relative_to(root)]
        if not roots:
            return []
        top = min(roots, key=lambda root: len(root.parts))
        over = [folder for folder in path.parents if folder.is_relative_to(top)]
        return over[::-1]

    def _spec(self, folder: Path) -> GitIgnoreSpec | None:
        if folder not in self._specs:
            self._specs[folder] = self._read(folder / IGNORE_FILE)
        return self._specs[folder]

    def _read(self, path: Path) -> GitIgnoreSpec | None:
        try:
            with path.open("rb") as file:
                lines = file.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()
            return GitIgnoreSpec.from_lines(lines)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as problem:
            self.problems.append(f"{path} is not followed: {problem}")
            return None
