"""The command line: words in, calls out. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mri3d import __version__
from mri3d.errors import InputError, Mri3dError, PreprocessingError, UsageError

if TYPE_CHECKING:
    from mri3d.commands.detect import Summary

SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class Mri3dGroup(click.Group):
    """Turns our errors and Ctrl-C into one line on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; with ``--debug`` errors keep their traceback."""
        try:
            return super().invoke(ctx)
        except Mri3dError as error:
            if ctx.meta.get("mri3d.debug"):
                raise
            click.echo(f"mri3d: {error}", err=True)
            sys.exit(EXIT_USAGE)
        except KeyboardInterrupt:
            # what is cleaned up from here on takes seconds, and pressing again would only break that off
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            resumable = command is not None and any(option.name == "resume" for option in command.params)
            click.echo(f"mri3d: interrupted{'; go on with --resume' if resumable else ''}", err=True)
            # an interrupt within an evaluated string, as MONAI's configs are, would end Python by a signal in place
            # of the exit code; evaluating another string takes that back
            eval("0")
            sys.exit(EXIT_INTERRUPTED)


def _talk(ctx: click.Context, quiet: bool, verbose: bool, debug: bool) -> None:
    """Our own messages as plain lines on stderr; other packages' only with --debug."""
    ctx.meta["mri3d.debug"], ctx.meta["mri3d.quiet"] = debug, quiet
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"  # tqdm's own switch
    level = logging.DEBUG if debug else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr, force=True)
    own = logging.ERROR if quiet else logging.DEBUG if debug or verbose else logging.INFO
    logging.getLogger("mri3d").setLevel(own)
    logging.getLogger("mri3d.debug").setLevel(logging.DEBUG if debug else logging.CRITICAL)
    if not debug:
        warnings.simplefilter("ignore")
        logging.getLogger("monai").setLevel(logging.ERROR)
        # its engines announce every exception, which is told here once
        logging.getLogger("ignite").setLevel(logging.CRITICAL)


def _say(words: str) -> None:
    """A result on stdout, unless --quiet."""
    if not click.get_current_context().meta["mri3d.quiet"]:
        click.echo(words)


def _report_failures(lines: Sequence[str]) -> None:
    """Name what failed on stderr and end with exit code 1, if anything did."""
    for line in lines:
        click.echo(f"mri3d: failed: {line}", err=True)
    if lines:
        sys.exit(EXIT_FAILED)


class Command(click.Command):
    """A command with -q, -v and --debug, which sets logging up before it runs."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self.params += [
            click.Option(["-q", "--quiet"], is_flag=True, help="Say nothing but errors."),
            click.Option(["-v", "--verbose"], is_flag=True, help="Say more."),
            click.Option(["--debug"], is_flag=True, help="Show tracebacks and the messages of all packages."),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command without the words that were for the logging."""
        _talk(ctx, *(ctx.params.pop(name) for name in ("quiet", "verbose", "debug")))
        return super().invoke(ctx)


def _settings(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """``key=value`` pairs; the value is read as YAML, so that numbers are numbers."""
    import yaml

    settings = {}
    for pair in values:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"expected key=value, found {pair!r}", ctx, parameter)
        try:
            # YAML takes 1e-3 for a word
            settings[key] = float(value) if SCIENTIFIC.fullmatch(value) else yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise click.BadParameter(f"{pair!r} is no YAML value", ctx, parameter) from error
    return settings


def _existing(resume: bool, overwrite: bool) -> str:
    """What to do with results that stand there already."""
    if resume and overwrite:
        remedy = "Resume keeps what is done, overwrite does it again: leave one of them out"
        raise UsageError("--resume --overwrite", "one of the two", "both", remedy)
    return "resume" if resume else "overwrite" if overwrite else "refuse"


def _refuse_options(settings: dict[str, Any], *keys: str) -> None:
    """Refuse to set what an option of the command sets, which would win without a word."""
    for key in keys:
        if key in settings:
            raise UsageError(f"--set {key}", "a key that no option sets", key, "Use the option or argument; see --help")


def _names(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]


input_argument = click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
output_option = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the results."
)
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N|mps", help="What computes."
)
modalities_option = click.option(
    "--modalities", metavar="T1w,T2w,FLAIR", callback=_names,
    help="What a subject has; maps lie on the first. [default: the bundle's; T1w to train]",
)
set_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", callback=_settings,
    help="Change a key of the configuration, such as min_ml=0.5; repeatable.",
)
resume_option = click.option("--resume", is_flag=True, help="Do only what is still missing.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what is there.")


@click.group(cls=Mri3dGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mri3d")
def main() -> None:
    """Learn normal brain anatomy from healthy 3D MRI; show where a new scan departs from it.

    INPUT is a NIfTI file, a folder (searched to its bottom) or a datalist (.json, .csv, .tsv). Exit codes: 0 all done,
    1 some subjects failed, 2 wrong usage, 130 interrupted. Research software, not a medical device.
    """


@main.command(cls=Command)
@input_argument
@output_option
@click.option("--bundle", default=None, help="Bundle folder, or the name of a shipped one. [default: brain_t1]")
@click.option("--mask", type=click.Path(path_type=Path), help="Brain mask, or a folder of them that mirrors INPUT.")
@click.option(
    "--atlas", type=click.Path(path_type=Path),
    help="Regions to report: a label map in template space, NAME_dseg.nii.gz, with its names in NAME_dseg.tsv.",
)
@click.option(
    "--covariates", metavar="age,sex,tiv,site", callback=_names,
    help="Compare regions with healthy people alike in these, by INPUT's participants.tsv (tiv is measured).",
)
@click.option("--recon", is_flag=True, help="Write NAME_recon.nii.gz too.")
@click.option("--per-modality", is_flag=True, help="Write the maps of each modality alone, too.")
@click.option("--native", is_flag=True, help="Write those on each modality's own grid, too.")
@click.option("--server", metavar="URL", help="Have a server score, which mri3d serve runs; bundle and device are its.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with the token that the server asks for.")
@resume_option
@overwrite_option
@device_option
@modalities_option
@set_option
def detect(
    source: Path,
    output: Path,
    bundle: str | None,
    mask: Path | None,
    atlas: Path | None,
    covariates: list[str] | None,
    recon: bool,
    per_modality: bool,
    native: bool,
    server: str | None,
    token_file: Path | None,
    resume: bool,
    overwrite: bool,
    device: str,
    modalities: list[str] | None,
    settings: dict[str, Any],
) -> None:
    """Score the volumes in INPUT and write their anomaly maps."""
    if server is not None:
        given = {
            "--bundle": bundle, "--mask": mask, "--atlas": atlas, "--covariates": covariates, "--recon": recon,
            "--per-modality": per_modality, "--native": native, "--set": settings,
            f"--device {device}": device != "auto",
        }  # fmt: skip
        _detect_remotely(source, output, server, token_file, _existing(resume, overwrite), modalities, given)
        return
    if token_file is not None:
        raise UsageError("--token-file", "--server with it", "none", "Leave it out")
    from mri3d.bundle import DEFAULT_BUNDLE, find_bundle
    from mri3d.commands.detect import detect as run
    from mri3d.recipe import literal

    own = ("existing", "mask", "atlas", "covariates", "keep_reconstruction", "per_modality")
    _refuse_options(settings, *own, "device", "dataset_dir", "output_dir")
    overrides = {
        **settings,
        "existing": _existing(resume, overwrite),
        "mask": None if mask is None else literal(mask),
        "atlas": None if atlas is None else literal(atlas),
        **({"covariates": covariates} if covariates else {}),
        "keep_reconstruction": recon,
        "per_modality": "native" if native else "reference" if per_modality else "no",
    }
    summary = run(source, find_bundle(bundle or DEFAULT_BUNDLE), output, device, overrides, modalities)
    _say_detected(summary, output)


def _detect_remotely(
    source: Path,
    output: Path,
    server: str,
    token_file: Path | None,
    existing: str,
    modalities: list[str] | None,
    given: dict[str, Any],
) -> None:
    """Have a server score; ``given`` are options that it would not know of."""
    from mri3d.extras import need

    for option, value in given.items():
        if value:
            expected = "no option that the server's owner sets"
            raise UsageError(f"--server {server}", expected, option, "Leave it out, or detect without --server")
    need("httpx", "client", "mri3d detect --server")
    from mri3d.commands.remote import Server
    from mri3d.commands.remote import detect as run

    _say_detected(run(source, Server.of(server, token_file), output, existing, modalities), output)


def _say_detected(summary: Summary, output: Path) -> None:
    _say(summary.words)
    _say(f"Table: {output / 'results.csv'}\nReport: {output / 'report.html'}")
    _report_failures(summary.failures)


@main.command(cls=Command)
@input_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="The new bundle.")
@click.option("--recipe", help="Name of a recipe, or a YAML file. [default: restore; with --init its bundle's own]")
@click.option("--init", metavar="BUNDLE", help="Start from the weights of a trained bundle of the same network.")
@click.option(
    "--folds", type=click.IntRange(min=2),
    help="Score every volume by a network that has not seen it; trains FOLDS + 1 times.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of split, initial weights and augmentation. [default: 0]")
@resume_option
@overwrite_option
@device_option
@modalities_option
@set_option
def train(
    source: Path,
    output: Path,
    recipe: str | None,
    init: str | None,
    folds: int | None,
    seed: int | None,
    resume: bool,
    overwrite: bool,
    device: str,
    modalities: list[str] | None,
    settings: dict[str, Any],
) -> None:
    """Train a detector on the healthy volumes in INPUT; the result is a calibrated bundle.

    With --folds all volumes train and all are scored, each by a network that has not seen it: so a lab's controls serve
    as training set and as comparison group.
    """
    from mri3d.bundle import CONTROLS, find_bundle
    from mri3d.commands.controls import cross_fit
    from mri3d.commands.preflight import Training
    from mri3d.commands.train import train as run

    _refuse_options(settings, "device", "dataset_dir", "bundle_root")
    start, existing = None if init is None else find_bundle(init), _existing(resume, overwrite)
    task = Training(source, output, recipe, device, settings, seed, modalities, existing, start, folds)
    excluded = run(task) if folds is None else cross_fit(task)
    if folds is not None:
        _say(f"Every control's score: {output / CONTROLS}")
    curve = output / "training" / "curve.png"
    if curve.exists():
        _say(f"Training curve: {curve}")
    _say_bundle(output)
    _report_failures(excluded)


def _say_bundle(folder: Path) -> None:
    _say(f"Bundle: {folder}\nUse it: mri3d detect INPUT -o OUTPUT --bundle {folder}")


@main.command(cls=Command)
@input_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="The study.")
@click.option("--recipe", help="Name of a recipe, or a YAML file, with a search section. [default: restore]")
@click.option("--trials", type=click.IntRange(min=1), default=20, show_default=True, help="Trainings in all.")
@click.option(
    "--objective", type=click.Choice(["lesions", "reconstruction"]), default="lesions", show_default=True,
    help="Average precision of simulated anomalies in validation subjects, or the validation loss.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of split, weights, augmentation and search. [default: 0]")
@click.option("--resume", is_flag=True, help="Go on with the study, or share it with a process that runs it.")
@device_option
@modalities_option
@set_option
def tune(
    source: Path,
    output: Path,
    recipe: str | None,
    trials: int,
    objective: str,
    seed: int | None,
    resume: bool,
    device: str,
    modalities: list[str] | None,
    settings: dict[str, Any],
) -> None:
    """Search for the settings of a recipe that do best on validation subjects of INPUT.

    What is searched stands in the recipe's search section; what --set sets is not. Nobody who calibrates or tests has
    a part in it.
    """
    from mri3d.extras import need

    need("optuna", "tune", "mri3d tune")
    from mri3d.commands.preflight import Training
    from mri3d.commands.tune import tune as run

    _refuse_options(settings, "device", "dataset_dir", "bundle_root", "seed", "modalities")
    task = Training(source, output, recipe, device, settings, seed, modalities, _existing(resume, False))
    summary = run(task, trials, objective)
    _say(summary.words)
    _report_failures(summary.failures)


@main.command(cls=Command)
@input_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="The new bundle.")
@click.option("--bundle", default=None, help="Bundle folder, or the name of a shipped one. [default: brain_t1]")
@overwrite_option
@device_option
@set_option
def calibrate(
    source: Path, output: Path, bundle: str | None, overwrite: bool, device: str, settings: dict[str, Any]
) -> None:
    """Set a trained bundle's statistics and thresholds by the healthy volumes in INPUT, such as of another scanner.

    Nobody in INPUT should have been among those the bundle was trained on: thresholds would come out too low.
    """
    from mri3d.bundle import DEFAULT_BUNDLE, find_bundle
    from mri3d.commands.controls import calibrate as run

    _refuse_options(settings, "device", "dataset_dir", "bundle_root")
    existing = _existing(False, overwrite)
    excluded = run(source, find_bundle(bundle or DEFAULT_BUNDLE), output, device, settings, existing)
    _say_bundle(output)
    _report_failures(excluded)


@main.command(cls=Command)
@click.argument("maps", metavar="MAPS", type=click.Path(path_type=Path))
@click.option(
    "--truth", required=True, type=click.Path(path_type=Path),
    help="Folder of lesion masks (an empty one means healthy), or a table with subject and label or mask.",
)
@output_option
@click.option(
    "--compare", multiple=True, metavar="MAPS", type=click.Path(path_type=Path),
    help="Maps of another detector on the same subjects: paired differences to it; repeatable.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier evaluation.")
def evaluate(maps: Path, truth: Path, output: Path, compare: tuple[Path, ...], overwrite: bool) -> None:
    """Hold MAPS, a folder that detect wrote, against the truth.

    A mask belongs to the subject whose BIDS entities or NAME it bears (NAME_mask.nii.gz and the like); subjects without
    a truth are left out. The truth never moves a threshold.
    """
    from mri3d.commands.evaluate import evaluate as run

    outcome = run(maps, truth, output, compare, overwrite)
    _say(outcome.words)
    _say(f"Metrics: {output / 'metrics.json'}\nReport: {output / 'report.html'}")
    _report_failures(outcome.failures)


@main.command(cls=Command)
@click.argument("maps", metavar="OUT", type=click.Path(path_type=Path))
@output_option
@click.option(
    "--groups", "table", metavar="TABLE", type=click.Path(path_type=Path),
    help="Table with a line a participant (participant_id). [default: participants.tsv of the folder that was scored]",
)
@click.option("--column", help="Column of the table with the groups.")
@click.option(
    "--covariates", metavar="age,sex,tiv", callback=_names,
    help="Columns to adjust for; tiv is the size of the whole brain, measured. [default: none, by Welch's t-test]",
)
@click.option("--reference", metavar="NAME", help="Group to compare with. [default: control, hc, healthy ...]")
@click.option("--bundle", help="Folder of the bundle that made OUT, if not a shipped one: it tells whom it has seen.")
@click.option("--visits", is_flag=True, help="Compare each participant's later sessions with the first instead.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier comparison.")
def compare(
    maps: Path,
    output: Path,
    table: Path | None,
    column: str | None,
    covariates: list[str] | None,
    reference: str | None,
    bundle: str | None,
    visits: bool,
    overwrite: bool,
) -> None:
    """Compare groups of people, or visits of a person, in OUT, a folder that detect wrote.

    Groups: which regions differ from the reference group, effect sizes, corrected p-values, and a mean z-map a group in
    MNI152 space. Nobody counts whom the bundle has seen, but by out-of-fold scores (train --folds). Visits: a change
    map and region changes of each participant with several sessions.
    """
    if visits:
        groups_only = {"--groups": table, "--column": column, "--covariates": covariates, "--reference": reference}
        for option, value in groups_only.items():
            if value:
                remedy = "Leave it out, or leave out --visits to compare groups"
                raise UsageError("--visits", "no option that is for groups", option, remedy)
        from mri3d.commands.visits import compare_visits

        outcome = compare_visits(maps, output, overwrite, bundle)
        _say(f"{outcome.words}\nTable: {output / 'changes.csv'}\nReport: {output / 'report.html'}")
        _report_failures(outcome.failures)
        return
    from mri3d.commands.compare import Asked, compare_groups

    asked = Asked(maps, table, column, tuple(dict.fromkeys(covariates or ())), reference, bundle)
    outcome = compare_groups(asked, output, overwrite)
    _say(f"{outcome.words}\nTable: {output / 'groups.csv'}\nReport: {output / 'report.html'}")
    _report_failures(outcome.failures)


@main.command(cls=Command)
@click.argument("folder", metavar="OUTPUT", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Write report.html and the subjects' pages of OUTPUT, a folder that detect wrote, once more.

    Nothing is scored again: the pages are made of the table, the subjects' JSON files, pictures and viewer volumes.
    """
    from mri3d.reporting.names import REPORT
    from mri3d.reporting.report import remake_report

    count = remake_report(folder)
    _say(f"{count} subject{'s' if count != 1 else ''}\nReport: {folder / REPORT}")


@main.command(cls=Command)
@input_argument
@output_option
@click.option("--overwrite", is_flag=True, help="Replace the slices of an earlier export.")
@modalities_option
def slices(source: Path, output: Path, overwrite: bool, modalities: list[str] | None) -> None:
    """Write the axial slices of the volumes in INPUT for studies in 2D.

    Each is a 128 x 128 float32 array in [0, 1], NAME_slices/slice_KKK.npy; the top and bottom 15 % and empty ones are
    left out. slices.csv lists them, NAME_slices.json tells how to put them back.
    """
    from mri3d.commands.slices import export

    count, failures = export(source, output, modalities or ["T1w"], overwrite)
    _say(f"{count} slices\nIndex: {output / 'slices.csv'}")
    _report_failures(failures)


@main.command(cls=Command)
@input_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False),
    help="Folder for check.csv, check.json, contact_sheet.png and report.html; without it nothing is written.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier check.")
@device_option
def check(source: Path, output: Path | None, overwrite: bool, device: str) -> None:
    """Look the volumes in INPUT over before anything is trained on them or detected in them.

    Errors are what must be mended, such as a truncated file, a duplicate or a T2w volume named T1w; then the exit code
    is 1. Notes are what should be looked at.
    """
    import shutil

    from mri3d.commands.check import check as run

    checked = run(source, output, device, overwrite)
    _say(checked.words(min(shutil.get_terminal_size().columns, 120)))
    if output is not None:
        _say(f"Table: {output / 'check.csv'}\nContact sheet: {output / 'contact_sheet.png'}")
        _say(f"Report: {output / 'report.html'}")
    if checked.errors:
        if click.get_current_context().meta["mri3d.quiet"]:
            _report_failures([f"{error.subject}: {error.what}: {error.words}" for error in checked.errors])
        sys.exit(EXIT_FAILED)


@main.command(cls=Command)
@click.argument("volume", metavar="VOLUME", type=click.Path(path_type=Path))
@output_option
@click.option("--bundle", default=None, help="Bundle folder, or the name of a shipped one. [default: brain_t1]")
@click.option(
    "--abnormal", metavar="VOLUME2", type=click.Path(path_type=Path),
    help="A volume to set beside it. [default: VOLUME itself with a lesion put in]",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier inspection.")
@device_option
def inspect(
    volume: Path, output: Path, bundle: str | None, abnormal: Path | None, overwrite: bool, device: str
) -> None:
    """Look into a trained detector: feature maps of its layers, its latent, and what it makes of VOLUME.

    inspect.html explains the pictures, inspect.json holds the numbers. Of a variational autoencoder there are a latent
    traversal and samples too; atlas, pca, intensity and equalised have no layers to look into.
    """
    from mri3d.bundle import DEFAULT_BUNDLE, find_bundle
    from mri3d.commands.inspect import inspect as run

    try:
        found = run(volume, find_bundle(bundle or DEFAULT_BUNDLE), output, abnormal, device, overwrite)
    except (InputError, PreprocessingError) as error:
        if click.get_current_context().meta["mri3d.debug"]:
            raise
        _report_failures([str(error)])
        return
    _say(f"{len(found.pictures)} pictures\nPage: {output / 'inspect.html'}\nNumbers: {output / 'inspect.json'}")


@main.command(cls=Command)
@input_argument
@output_option
@click.option(
    "--sigma", type=float,
    help="Standard deviation of the noise in the volume's own intensity units. [default: estimated for each]",
)
@click.option("--bundle", default=None, help="Bundle folder, or the name of a shipped one. [default: brain_t1_denoise]")
@overwrite_option
@device_option
@modalities_option
def denoise(
    source: Path,
    output: Path,
    sigma: float | None,
    bundle: str | None,
    overwrite: bool,
    device: str,
    modalities: list[str] | None,
) -> None:
    """Take Gaussian and Rician noise off the volumes in INPUT, on their own voxels.

    NAME_denoised.nii.gz has the grid and header of NAME.nii.gz; NAME_denoised.json tells the noise's strength.
    """
    from mri3d.bundle import DENOISING_BUNDLE, find_bundle
    from mri3d.commands.denoise import denoise as run

    root = find_bundle(bundle or DENOISING_BUNDLE)
    count, failures = run(source, root, output, sigma, device, modalities, overwrite)
    _say(f"{count} volume{'s' if count != 1 else ''} denoised in {output}")
    _report_failures(failures)


@main.command(cls=Command)
@click.option("--bundle", default=None, help="Bundle folder, or the name of a shipped one. [default: brain_t1]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; any but this machine's needs a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="File with the token that clients have to send.",
)
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False),
    help="Folder for uploads, results and the table of jobs. [default: mri3d in the user's state folder]",
)
@click.option("--queue", type=click.IntRange(min=1), default=32, show_default=True, help="Jobs that may wait.")
@click.option(
    "--max-upload-mb", type=click.IntRange(min=1), default=512, show_default=True, help="Largest request in MiB.",
)
@click.option(
    "--upload-timeout", type=click.FloatRange(min=1), default=300.0, show_default=True,
    help="Seconds that an upload may take.",
)
@click.option(
    "--keep-hours", type=click.FloatRange(min=0, min_open=True), default=24.0, show_default=True,
    help="How long results are kept.",
)
@device_option
def serve(
    bundle: str | None,
    host: str,
    port: int,
    token_file: Path | None,
    state: Path | None,
    queue: int,
    max_upload_mb: int,
    upload_timeout: float,
    keep_hours: float,
    device: str,
) -> None:
    """Serve a bundle over HTTP: a page to drop a scan on, and an interface for programs.

    Jobs and their results survive a restart with the same --state. Only this machine reaches the server unless --host
    says otherwise.
    """
    from mri3d.extras import need

    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        need(package, "serve", "mri3d serve")
    from mri3d.bundle import DEFAULT_BUNDLE, find_bundle
    from mri3d.commands.serve import Address, default_state, token_for
    from mri3d.commands.serve import serve as run
    from mri3d.serving.settings import Settings

    address = Address(host, port)
    token = token_for(address, token_file)
    settings = Settings(state or default_state(), token, queue, max_upload_mb, upload_timeout, keep_hours)
    run(find_bundle(bundle or DEFAULT_BUNDLE), device, address, settings, _say)


@main.command(cls=Command)
@click.argument("labels", metavar="LABELS", type=click.Path(path_type=Path))
@output_option
@click.option(
    "--modalities", metavar="T1w,T2w,FLAIR", callback=_names, help="What to simulate. [default: all three]"
)
@click.option("--count", type=click.IntRange(min=1), help="Subjects in all. [default: one for each label map]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is drawn.")
@click.option(
    "--spacing", type=click.FloatRange(0.3, 5.0), default=1.0, show_default=True,
    help="Size of isotropic voxels, and of those within thick slices, in mm.",
)
@click.option("--thick/--no-thick", default=True, help="T2w and FLAIR with slices of 3 to 5 mm. [default: with]")
@click.option("--stripped", is_flag=True, help="Leave out all but the brain.")
@click.option(
    "--beside", metavar="FOLDER", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="T1w of the labelled people: each keeps that scan, shape and age, and the other modalities are simulated.",
)
@overwrite_option
def synth(
    labels: Path,
    output: Path,
    modalities: list[str] | None,
    count: int | None,
    seed: int,
    spacing: float,
    thick: bool,
    stripped: bool,
    beside: Path | None,
    overwrite: bool,
) -> None:
    """Simulate healthy T1w, T2w and FLAIR volumes from LABELS, a label map or a folder of them.

    Labels are FreeSurfer's or MUSE's regions. OUTPUT becomes a BIDS data set: each scan on its own grid with its
    sequence in the sidecar, and the label map of each subject below derivatives/labels.
    """
    from mri3d.commands.synth import Plan
    from mri3d.commands.synth import synth as run

    names = Plan.modalities if modalities is None else tuple(dict.fromkeys(modalities))
    made, failures = run(labels, output, Plan(names, count, seed, spacing, thick, stripped, beside), overwrite)
    _say(f"{made} subject{'s' if made != 1 else ''}, simulated\nTable: {output / 'participants.tsv'}")
    _report_failures(failures)


@main.command(cls=Command)
@click.option(
    "-o", "--output", default="data/demo", show_default=True, type=click.Path(path_type=Path, file_okay=False),
    help="Folder for volumes and results.",
)
@device_option
def demo(output: Path, device: str) -> None:
    """Make a few volumes, one with a lesion, and find it with the shipped bundle."""
    from mri3d.commands.demo import run

    _say(run(output, device))


@main.group()
def bundle() -> None:
    """Build a bundle's configs from a recipe, and verify a bundle."""


@bundle.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--recipe", help="Name of a recipe, or a YAML file. [default: restore]")
@set_option
def build(folder: Path, recipe: str | None, settings: dict[str, Any]) -> None:
    """Write the configs and documents of the bundle FOLDER; weights stay as they are."""
    from mri3d.recipe import DEFAULT_RECIPE
    from mri3d.recipe import build as run

    run(recipe or DEFAULT_RECIPE, folder, settings)
    _say(f"Built {folder}")


@bundle.command(cls=Command)
@click.argument("name")
def verify(name: str) -> None:
    """Check that the bundle NAME is complete and that its parts belong together."""
    from mri3d.bundle import find_bundle
    from mri3d.workflow import verify as run

    for line in run(find_bundle(name)):
        _say(line)



if __name__ == "__main__":
    main()
