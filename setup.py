"""Everything stands in setup.cfg; here is only what the build does beside: NiiVue, the viewer of the report, from npm.

Where npm is missing or fails, mri3d is built without it and its report takes a simpler viewer.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

VIEWER = Path(__file__).resolve().parent / "mri3d" / "viewer"


class BuildWithViewer(build_py):
    """Brings the viewer's script before the package's files are gathered."""

    def run(self) -> None:
        """Bring NiiVue where it is not there yet, then build as ever."""
        if not (VIEWER / "niivue.umd.js").exists():
            try:
                bring_niivue()
            except (OSError, subprocess.SubprocessError) as error:
                self.warn(f"the report will have its simpler viewer, since npm did not bring NiiVue: {error}")
        super().run()


def bring_niivue() -> None:
    """Install what the lock file names in a folder of its own, and copy the one file that pages load."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("there is no npm")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(VIEWER / name, folder)
        command = [npm, "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=folder, check=True, timeout=300, stdout=subprocess.DEVNULL)
        shutil.copy(Path(folder) / "node_modules/@niivue/niivue/dist/niivue.umd.js", VIEWER)


setup(cmdclass={"build_py": BuildWithViewer})
