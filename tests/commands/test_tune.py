"""A search for settings: its space, its study through kills and company, its pruning, and what it leaves behind."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from mri3d.cli import main
from mri3d.commands import tune as tuning
from mri3d.errors import UsageError
from mri3d.recipe import merge, recipes, search_of, with_settings
from mri3d.resources import configs_dir
from mri3d.search import study as studies
from mri3d.search.objective import OBJECTIVES, Lesions, Reconstruction
from mri3d.search.space import Choice, Range, parse_space
from mri3d.search.study import Study
from mri3d.training.history import read_history
from mri3d.training.prepare import LoadPrepared, Prepared
from tests.shared import PEOPLE, PREPARATION, cache_of

optuna = pytest.importorskip("optuna")

SEARCH = {
    "training.learning_rate": [0.01, 0.001],
    "training.batch_size": {"low": 2, "high": 3},
    "network_def.latent_channels": {"low": 2, "high": 8, "log": True},
    "network_def.channels": [[4, 4, 4, 4], [4, 4, 4, 8]],
}
RECIPE = {
    **yaml.safe_load((configs_dir() / "cae.yaml").read_text()),
    "bias_correction": PREPARATION["bias_correction"],
    "grid": {"spacing": PREPARATION["grid.spacing"], "shape": PREPARATION["grid.shape"]},
    "search": SEARCH,
}
RECIPE["training"] |= {"epochs": 4, "shares": {"train": 0.34, "validation": 0.16, "calibration": 0.42, "test": 0.08}}


# the space


def test_a_section_becomes_choices_and_ranges():
    space = parse_space({**SEARCH, "network_def.x": {"low": 0.5, "high": 2, "step": 0.5}})
    assert space.parameters == (
        Choice("training.learning_rate", (0.01, 0.001)),
        Range("training.batch_size", 2, 3),
        Range("network_def.latent_channels", 2, 8, log=True),
        Choice("network_def.channels", ([4, 4, 4, 4], [4, 4, 4, 8])),
        Range("network_def.x", 0.5, 2, 0.5),
    )
    assert [one.whole for one in space.parameters if isinstance(one, Range)] == [True, True, False]
    assert space.size == 2 * 2 * 7 * 2 * 4
    assert parse_space({"a.b": {"low": 0.1, "high": 0.2}}).size == float("inf")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (None, "found none"),
        ({}, "config keys with choices or ranges"),
        ([1], "config keys with choices or ranges"),
        ({"a.b": 3}, "a list of choices, or"),
        ({"a.b": [3]}, "two or more different choices"),
        ({"a.b": [3, 3]}, "two or more different choices"),
        ({"a.b": [1.0, float("nan")]}, "plain YAML values"),
        ({"a.b": {"low": 1}}, "a list of choices, or"),
        ({"a.b": {"low": 1, "high": 2, "stop": 3}}, "a list of choices, or"),
        ({"a.b": {"low": 2, "high": 1}}, "low below high"),
        ({"a.b": {"low": "1e-3", "high": 1}}, "1.0e-3 in place of 1e-3"),
        ({"a.b": {"low": 1, "high": 9, "step": 0}}, "a step above 0"),
        ({"a.b": {"low": 1, "high": 9, "step": 0.5}}, "a whole step"),
        ({"a.b": {"low": 0, "high": 9, "log": True}}, "a logarithmic range above 0"),
        ({"a.b": {"low": 1, "high": 9, "log": "yes"}}, "true or false"),
    ],
)
def test_a_section_that_makes_no_space_is_refused(section: Any, expected: str):
    with pytest.raises(UsageError, match=re.escape(expected)):
        parse_space(section)


plain = st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text(max_size=4)
options = st.lists(plain | st.lists(plain, max_size=3), min_size=2, max_size=4, unique_by=lambda v: json.dumps(v))
ranges = st.builds(
    lambda low, width, whole, log: {
        "low": low if whole else low / 7, "high": low + width if whole else (low + width) / 7,
        **({"log": True} if log else {}),
    },
    st.integers(1, 50), st.integers(1, 50), st.booleans(), st.booleans(),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(section=st.dictionaries(st.text("abc.", min_size=1, max_size=4), options | ranges, min_size=1, max_size=4))
def test_a_space_survives_yaml_and_its_values_survive_a_study(section: dict[str, Any]):
    space = parse_space(section)
    assert parse_space(yaml.safe_load(yaml.safe_dump(space.as_yaml(), sort_keys=False))) == space
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    values = space.suggest(study.ask())
    assert space.decode(study.trials[0].params) == values
    for parameter in space.parameters:
        value = values[parameter.key]
        if isinstance(parameter, Choice):
            assert any(value == option and type(value) is type(option) for option in parameter.options)
        else:
            assert parameter.low <= value <= parameter.high and (type(value) is int) == parameter.whole


@pytest.mark.parametrize("recipe", [name for name in recipes() if search_of(name) is not None])
def test_the_search_of_every_recipe_fits_it_and_is_no_part_of_its_bundles(recipe: str):
    configs = merge(recipe, {})
    assert all("search" not in config for config in configs.values())
    assert tuning._space(recipe, {}, configs["train"], Lesions()).parameters


def test_what_is_set_is_not_searched():
    config = merge("cae", {})["train"]
    keys = {"training.learning_rate": 0.002}
    space = tuning._space("cae", keys, config, Lesions())
    assert "training.learning_rate" not in space.as_yaml() and "network_def.channels" in space.as_yaml()


@pytest.mark.parametrize(
    ("key", "options", "expected"),
    [
        ("training.learning_rat", [1, 2], "training.learning_rate"),
        ("training.corruption.9.std", [1, 2], "none of that name"),
        ("training.learning_rate", ["1e-3", 0.1], "1.0e-3 in place of 1e-3"),
        ("training.batch_size", [1, 0], "training.batch_size: expected a whole number from 1 on"),
        ("training#batch_size", [1, 2], "with dots between levels"),
        ("grid.spacing", [2.0, 4.0], "a key of network_def, training, scorer"),
        ("seed", [1, 2], "a key of network_def, training, scorer"),
        ("training.shares.train", [0.5, 0.6], "a key of network_def, training, scorer"),
        ("training.corruption.0.prob", [0.2, 0.4], "--objective lesions"),
        ("scorer.smoothing", [0.5, 1.0], "--objective lesions"),
    ],
)
def test_keys_that_cannot_be_searched_are_refused(tmp_path: Path, key: str, options: list[Any], expected: str):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "search": {key: options}}))
    with pytest.raises(UsageError, match=re.escape(expected)):
        tuning._space(str(path), {}, merge(path, {})["train"], Reconstruction())


def test_a_recipe_with_settings_is_the_recipe_and_the_settings(tmp_path: Path):
    keys = {
        "training.loss.kl_weight": 0.5, "network_def.channels": [4, 4], "training.epochs": 3, "min_ml": 2.0,
        "grid.spacing": 3.0, "scorer": {"smoothing": 2.0}, "training.augmentation.1.prob": 0.0,
    }  # fmt: skip
    path = tmp_path / "mine.yaml"
    path.write_text(with_settings("vae", keys))
    assert merge(path, {}) == merge("vae", keys)


# the study, without trainings


def study_in(folder: Path, resume: bool = False, **asked: Any) -> Study:
    return Study(folder, parse_space(SEARCH), "maximize", 0, {"search": SEARCH, **asked}, resume)


def test_a_study_ends_with_as_many_trials_as_asked_for(tmp_path: Path):
    study = study_in(tmp_path / "s")
    for number in (1, 2, 3):
        claim = study.claim(3)
        assert claim is not None and claim.number == number
        study.fail(claim, "odd") if number == 2 else study.complete(claim, number / 10)
    assert study.claim(3) is None
    assert [(one.number, one.state) for one in study.outcomes()] == [(1, "complete"), (2, "failed"), (3, "complete")]
    best = study.best()
    assert best is not None and best.number == 3 and set(best.values) == set(SEARCH)
    further = study.claim(4)
    assert further is not None and further.number == 4


def test_a_trial_whose_process_died_is_tried_again_with_the_same_values_and_nothing_else_is(tmp_path: Path):
    study, other = study_in(tmp_path / "s"), study_in(tmp_path / "s", resume=True)
    dead, alive = study.claim(3), study.claim(3)
    assert dead is not None and alive is not None
    dead.trial.report(0.3, 1)
    dead.lock.release()  # as the system does when a process ends
    again = other.claim(3)
    assert again is not None and (again.number, again.values) == (1, dead.values)
    assert other._reported(1) == {1: 0.3}
    last = study.claim(3)
    assert last is not None and last.number == 3
    assert other.claim(3) is None
    for claim in (again, alive, last):
        study.complete(claim, 0.5)
    assert [one.number for one in other.outcomes()] == [1, 2, 3] and other.claim(3) is None


def test_trials_that_wait_in_another_order_than_their_numbers_keep_their_values(tmp_path: Path):
    study = study_in(tmp_path / "s")
    first, second = study.claim(2), study.claim(2)
    assert first is not None and second is not None
    first.lock.release()
    again = study.claim(2)  # trial 1 is now the younger one
    assert again is not None and again.number == 1
    for claim in (second, again):
        claim.lock.release()
    resumed = study_in(tmp_path / "s", resume=True)
    claims = [resumed.claim(2), resumed.claim(2)]
    assert {claim.number: claim.values for claim in claims if claim} == {1: first.values, 2: second.values}


@pytest.mark.parametrize(("direction", "number"), [("minimize", 2), ("maximize", 3)])
def test_the_best_trial_is_that_of_the_direction(tmp_path: Path, direction: Any, number: int):
    study = Study(tmp_path / "s", parse_space(SEARCH), direction, 0, {}, False)
    for value in (0.2, 0.1, 0.3):
        claim = study.claim(3)
        assert claim is not None
        study.complete(claim, value)
    best = study.best()
    assert best is not None and best.number == number


def test_proposals_depend_on_the_seed_and_the_results_alone(tmp_path: Path):
    first, second = study_in(tmp_path / "a"), study_in(tmp_path / "b")
    for number in range(8):
        study = second if number < 4 else study_in(tmp_path / "b", resume=True)
        claims = first.claim(8), study.claim(8)
        assert claims[0] is not None and claims[1] is not None and claims[0].values == claims[1].values
        for one, claim in zip((first, study), claims, strict=True):
            one.complete(claim, claim.values["training.learning_rate"])


def test_no_values_are_tried_twice(tmp_path: Path):
    section = {"training.learning_rate": [0.1, 0.01, 0.001], "training.batch_size": {"low": 1, "high": 4}}
    study = Study(tmp_path / "s", parse_space(section), "minimize", 0, {}, False)
    assert study.space.size == 12
    for _ in range(12):
        claim = study.claim(12)
        assert claim is not None
        study.complete(claim, claim.values["training.learning_rate"])
    assert study.claim(12) is None
    assert len({json.dumps(one.values) for one in study.outcomes()}) == 12


def test_a_study_keeps_to_what_was_asked_of_it(tmp_path: Path):
    with pytest.raises(UsageError, match="a study to go on with"):
        study_in(tmp_path / "s", resume=True)
    study_in(tmp_path / "s", recipe="cae", config={"seed": 0, "training": {"focus": 0.0}})
    with pytest.raises(UsageError, match="--resume"):
        study_in(tmp_path / "s", recipe="cae", config={"seed": 0, "training": {"focus": 0.0}})
    other = {"seed": 0, "training": {"focus": 1.0}}
    for asked, told in (
        ({"recipe": "vae"}, "recipe as the study was begun with: cae, found vae"),
        ({"recipe": "cae", "config": other}, "config training focus .*: 0.0, found 1.0"),
        ({"recipe": "cae", "volumes": {"sub-1": "3 bytes"}}, "volumes .*: none, found"),
    ):
        with pytest.raises(UsageError, match=told):
            study_in(tmp_path / "s", resume=True, **asked)


# real studies


@pytest.fixture(scope="module")
def place(healthy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The healthy brains, what is prepared of them, and a recipe."""
    place = tmp_path_factory.mktemp("tune")
    cache_of(healthy).mkdir(exist_ok=True)
    for folder in (healthy, cache_of(healthy)):
        (place / folder.name).symlink_to(folder)
    (place / "small.yaml").write_text(yaml.safe_dump(RECIPE))
    return place


def words_of(place: Path, study: str, trials: int, *words: str) -> list[str]:
    recipe, cache = ["--recipe", str(place / "small.yaml")], ["--set", f"cache_dir={place / 'cache'}"]
    output = ["-o", str(place / study), "--trials", str(trials), "--device", "cpu"]
    return ["tune", str(place / "healthy"), *output, *recipe, *cache, *words]


def tune(place: Path, study: str, trials: int, *words: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(main, words_of(place, study, trials, *words))
    assert result.exit_code == exit_code, result.output
    return result


def table(study: Path) -> list[dict[str, str]]:
    with open(study / "trials.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def loaded() -> Iterator[tuple[set[str], dict[str, str]]]:
    """The cache files that were read while the study of the module ran, and whom each shows."""
    read: set[str] = set()
    whom: dict[str, str] = {}
    call, of = LoadPrepared.__call__, Prepared.of

    def load(self: LoadPrepared, item: dict[str, str]) -> Any:
        read.add(item["prepared"])
        return call(self, item)

    def items(self: Prepared, participants: Any) -> Any:
        whom.update({str(path): participant for participant, path in self.files})
        return of(self, participants)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoadPrepared, "__call__", load)
        patch.setattr(Prepared, "of", items)
        yield read, whom


@pytest.fixture(scope="module")
def study(place: Path, loaded: tuple[set[str], dict[str, str]]) -> Path:
    result = tune(place, "study", 3)
    assert "3 trials: 3 complete" in result.output and "best.yaml --seed 0" in result.output
    return place / "study"


def test_a_study_leaves_a_table_pictures_and_ordinary_trainings(study: Path):
    rows = table(study)
    assert [(row["trial"], row["state"], row["epochs"]) for row in rows] == [(n, "complete", "4") for n in "123"]
    assert all(0 < float(row["value"]) <= 1 for row in rows)
    for name in ("history.png", "importance.png"):
        assert (study / name).stat().st_size > 5000
    splits = [(study / "trials" / f"00{n}" / "models" / "split.json").read_text() for n in (1, 2, 3)]
    assert len(set(splits)) == 1 and json.loads(splits[0]) == json.loads((study / "split.json").read_text())
    for row in rows:
        trial = study / "trials" / f"00{row['trial']}"
        config = yaml.safe_load((trial / "configs" / "train.yaml").read_text())
        assert config["training"]["learning_rate"] == float(row["training.learning_rate"])
        assert config["network_def"]["channels"] == json.loads(row["network_def.channels"])
        assert len(read_history(trial / "training")) == 4
        assert (trial / "models" / "model.pt").exists()
        assert not (trial / "models" / "calibration.json").exists()
        assert not (trial / "training" / "checkpoint.pt").exists()
        assert not (trial / "training" / "cache").exists()


def test_nobody_who_calibrates_or_tests_is_looked_at(study: Path, loaded: tuple[set[str], dict[str, str]]):
    read, whom = loaded
    split = json.loads((study / "split.json").read_text())
    assert len(whom) == len(PEOPLE) and min(map(len, split.values())) > 0
    assert {whom[path] for path in read} == {*split["train"], *split["validation"]}


def test_the_best_recipe_trains(study: Path, place: Path):
    best = max(table(study), key=lambda row: float(row["value"]))
    words = ["train", str(place / "healthy"), "-o", str(place / "best"), "--recipe", str(study / "best.yaml")]
    result = CliRunner().invoke(main, [*words, "--device", "cpu", "--set", f"cache_dir={place / 'cache'}"])
    assert result.exit_code == 0, result.output
    assert (place / "best" / "models" / "calibration.json").exists()
    assert (place / "best" / "models" / "split.json").read_text() == (study / "split.json").read_text()
    rows, trial = read_history(place / "best" / "training"), study / "trials" / f"00{best['trial']}"
    assert [r["val_loss"] for r in rows] == pytest.approx([r["val_loss"] for r in read_history(trial / "training")])


def test_another_study_is_refused(study: Path, place: Path):
    other = place / "other.yaml"
    other.write_text(yaml.safe_dump({**RECIPE, "search": {"training.learning_rate": [0.1, 0.2, 0.3]}}))
    before = table(study)
    for words, told in (
        ((), "Name another folder, or go on with it by --resume"),
        (("--resume", "--recipe", str(other)), "recipe as the study was begun with: small.yaml, found other.yaml"),
        (("--resume", "--objective", "reconstruction"), "objective as the study was begun with: lesions"),
        (("--resume", "--seed", "1"), "config seed as the study was begun with: 0, found 1"),
        (("--resume", "--set", "training.batch_size=2"), "search training.batch_size as the study was begun with"),
    ):
        assert told in tune(place, "study", 3, *words, exit_code=2).output
    fewer = place / "fewer.csv"
    fewer.write_text("image\n" + "".join(f"healthy/{person}_T1w.nii.gz\n" for person in PEOPLE[:-1]))
    words = words_of(place, "study", 3, "--resume")
    words[1] = str(fewer)
    assert "volumes" in CliRunner().invoke(main, words).output
    assert table(study) == before


def test_what_cannot_be_searched_leaves_nothing_behind(place: Path):
    assert "config keys with choices or ranges" in tune(place, "no", 2, "--recipe", "atlas", exit_code=2).output
    assert "none of that name" in tune(place, "no", 2, "--set", "training.epochz=3", exit_code=2).output
    words = ("--recipe", "pca", "--objective", "reconstruction")
    assert "a recipe that learns by gradients" in tune(place, "no", 2, *words, exit_code=2).output
    assert "at most 56, as many as there are combinations" in tune(place, "no", 57, exit_code=2).output
    assert not (place / "no").exists()


class Scripted(Lesions):
    """The first trial is good, the second hopeless, the third breaks down."""

    trial = 0

    def of_epoch(self, parser: Any) -> float:
        rows = parser.get_parsed_content("history").rows
        self.trial += len(rows) == 1
        return 0.9 if self.trial == 1 else 0.1

    def of_training(self, parser: Any) -> float:
        if self.trial == 3:
            raise RuntimeError("out of\nmemory")
        return 0.9


def test_a_hopeless_trial_is_pruned_and_one_that_breaks_down_counts(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(studies, "STARTUP", 1)
    monkeypatch.setattr(studies, "WARM_UP", 2)
    monkeypatch.setitem(OBJECTIVES, "lesions", Scripted)
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial, prune=optuna.Trial.should_prune: (
        trial.user_attrs["number"] != 3 and prune(trial)))  # fmt: skip
    result = tune(place, "scripted", 3, exit_code=1)
    assert "1 complete, 1 pruned, 1 failed" in result.output
    assert "failed: trial 3: RuntimeError: out of memory" in result.output
    rows = table(place / "scripted")
    assert [(row["state"], row["epochs"]) for row in rows] == [("complete", "4"), ("pruned", "2"), ("failed", "4")]
    pruned = place / "scripted" / "trials" / "002" / "training"
    assert len(read_history(pruned)) == 2 and not (pruned / "checkpoint.pt").exists()
    assert (place / "scripted" / "best.yaml").exists()


def test_a_first_trial_that_breaks_down_ends_the_study(place: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> float:
        raise RuntimeError("no such layer")

    monkeypatch.setattr(Lesions, "of_training", broken)
    result = tune(place, "broken", 3, "--set", "training.epochs=1", exit_code=2)
    assert "trial 1: expected a training that runs, found RuntimeError: no such layer" in result.output


def start(place: Path, study: str, trials: int, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mri3d.cli", *words_of(place, study, trials, *words)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(ready: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def test_a_study_that_is_killed_and_interrupted_ends_with_as_many_trials_as_asked_for(study: Path, place: Path):
    epochs = 6
    words = ("--objective", "reconstruction", "--set", f"training.epochs={epochs}")
    root = place / "killed"
    process = start(place, "killed", 3, *words)
    wait_for(lambda: len(read_history(root / "trials" / "002" / "training")) >= 2, process)
    os.kill(process.pid, signal.SIGKILL)  # its worker processes live on for a while
    process.communicate()
    values = yaml.safe_load((root / "trials" / "002" / "configs" / "train.yaml").read_text())["training"]
    assert [row["trial"] for row in table(root)] == ["1"]

    process = start(place, "killed", 3, *words, "--resume")
    wait_for(lambda: len(read_history(root / "trials" / "003" / "training")) >= 1, process)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert [line for line in told.splitlines() if "%|" not in line][-1] == "mri3d: interrupted; go on with --resume"
    assert "Traceback" not in told and "trial 1 of" not in told

    tune(place, "killed", 3, *words, "--resume")
    rows = table(root)
    ended = [(row["trial"], row["state"], row["epochs"]) for row in rows]
    assert ended == [(n, "complete", str(epochs)) for n in "123"]
    assert float(rows[1]["training.learning_rate"]) == values["learning_rate"]
    for row in rows:
        history = read_history(root / "trials" / f"00{row['trial']}" / "training")
        assert [epoch["epoch"] for epoch in history] == list(range(1, epochs + 1))
        assert float(row["value"]) == pytest.approx(min(epoch["val_loss"] for epoch in history), rel=1e-4)
    kept = optuna.load_study(study_name=studies.NAME, storage=f"sqlite:///{root / 'study.db'}")
    assert sorted(trial.state.name for trial in kept.trials) == ["COMPLETE"] * 3 + ["FAIL"] * 2


def test_two_processes_share_a_study(study: Path, place: Path):
    tune(place, "shared", 1, "--set", "training.epochs=2")
    both = [start(place, "shared", 5, "--set", "training.epochs=2", "--resume") for _ in range(2)]
    told = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    run = [set(re.findall(r"trial (\d) of 5: ", words)) for words in told]
    assert run[0] | run[1] == set("2345") and not run[0] & run[1] and all(run)
    assert [row["trial"] for row in table(place / "shared")] == list("12345")


def test_without_optuna_it_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mri3d.extras.find_spec", lambda name: None)
    assert "pip install 'mri3d[tune]'" in tune(place, "no", 2, exit_code=2).output
