"""The command line in the test's own process, which spares each call seconds of imports."""

from __future__ import annotations

from click.testing import CliRunner, Result

from mri3d.cli import main


def mri3d(*words: object, exit_code: int = 0) -> Result:
    """Run a command and expect an exit code; what it says is in the failure."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == exit_code, result.output
    return result
