"""What a check found, as rows of a table and as words for a terminal."""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mri3d.checking.facts import Facts
from mri3d.checking.finding import Finding
from mri3d.reporting.table import Row, Value, input_of, joined
from mri3d.volumes.discovery import Skipped

COLUMNS = (
    "subject", "input", "participant", "modality", "status", "shape", "spacing_mm", "orientation", "sform_code",
    "qform_code", "data_type", "lowest", "highest", "brain_ml", "brain_mask", "cut_cm2", "dice", "correlation",
    "errors", "notes", "seconds",
)  # fmt: skip
MOST_NOTES = 3
"""Notes of one kind that are told in full; of the others the volumes are named."""


def row_of(facts: Facts, findings: Iterable[Finding], root: Path) -> Row:
    """The row of a volume: its facts, as far as they are known, and what was found of it."""
    own = [finding for finding in findings if finding.subject == facts.subject.key]
    told = {
        severity: joined(f"{each.what}: {each.words}" for each in own if each.severity == severity)
        for severity in ("error", "note")
    }
    return {
        "subject": facts.subject.name,
        "input": input_of(facts.subject, root),
        "key": facts.subject.key,
        "participant": facts.subject.participant,
        "modality": next(iter(facts.subject.images)),
        "status": severity_of(own) or "ok",
        **_stored(facts),
        **_measured(facts),
        "errors": told["error"],
        "notes": told["note"],
        "seconds": facts.seconds,
    }


def in_brief(facts: Facts) -> str:
    """Such as ``PSR, 2 x 2 x 2 mm, brain 1440 ml``, as far as it is known."""
    told = []
    if facts.stored is not None:
        told += [facts.stored.orientation, _in_mm(facts.stored.spacing)]
    if facts.brain is not None:
        told.append(f"brain {facts.brain.ml:.0f} ml")
    return ", ".join(told)


def severity_of(findings: Sequence[Finding]) -> str:
    """The worst of some findings: ``error``, ``note`` or empty."""
    found = {finding.severity for finding in findings}
    return next((severity for severity in ("error", "note") if severity in found), "")


def summary(facts: Sequence[Facts], skipped: Sequence[Skipped]) -> dict[str, str]:
    """What the data set is, by name: how many volumes, how they are stored, what was measured."""
    people = len({each.subject.participant for each in facts})
    modalities = sorted({modality for each in facts for modality in each.subject.images})
    told = {"volumes": f"{len(facts)} of {people} {'person' if people == 1 else 'people'}, {', '.join(modalities)}"}
    stored = [each.stored for each in facts if each.stored is not None and not each.stored.labels]
    if stored:
        told["shapes"] = _counted(" x ".join(map(str, each.shape)) for each in stored)
        told["voxel sizes"] = _counted(_in_mm(each.spacing) for each in stored)
        told["orientations"] = _counted(each.orientation for each in stored)
        told["stored as"] = _counted(each.data_type for each in stored)
        told["lowest intensity"] = _range([each.low for each in stored], ".4g")
        told["highest intensity"] = _range([each.high for each in stored], ".4g")
    brains = [each.brain for each in facts if each.brain is not None]
    if brains:
        told["brain"] = _range([brain.ml for brain in brains], ".0f") + " ml"
        told["brain masks"] = _counted(brain.source for brain in brains)
    fits = [brain.alignment for brain in brains if brain.alignment is not None]
    if fits:
        told["alignment"] = (
            f"Dice {_range([fit.dice for fit in fits], '.2f')}; "
            f"correlation {_range([fit.correlation for fit in fits], '.2f')}"
        )
    if skipped:
        told["passed over"] = "; ".join(_passed_over(skipped))
    return told


def counts(facts: Sequence[Facts], findings: Sequence[Finding]) -> str:
    """Such as ``25 volumes: 2 errors in 2 of them, 1 note``."""
    errors = [finding for finding in findings if finding.severity == "error"]
    notes = len(findings) - len(errors)
    where = f" in {len({finding.subject for finding in errors})} of them" if errors else ""
    return f"{_many(len(facts), 'volume')}: {_many(len(errors), 'error')}{where}, {_many(notes, 'note')}"


def in_words(
    told: Mapping[str, str], findings: Sequence[Finding], unsaid: Sequence[str], total: str, width: int
) -> str:
    """All of it for a terminal of this many columns: the data set, then errors, then notes."""
    longest = max(map(len, told))
    lines = [_wrapped(f"{name:<{longest}}  {value}", width, longest + 2) for name, value in told.items()]
    for severity in ("error", "note"):
        own = [finding for finding in findings if finding.severity == severity]
        if own:
            lines += ["", *_listed(own, width)]
    lines += ["", *(_wrapped(sentence, width, 0) for sentence in unsaid), f"{total}."]
    return "\n".join(lines)


def _listed(findings: Sequence[Finding], width: int) -> list[str]:
    """Two lines a finding; errors are all told, of many notes of one kind only the first."""
    lines, kinds = [], defaultdict(list)
    for finding in findings:
        kinds[finding.what].append(finding)
        if finding.severity == "error" or len(kinds[finding.what]) <= MOST_NOTES:
            lines.append(f"{finding.severity:<5}  {finding.subject or 'the data set'}: {finding.what}")
            lines.append(_wrapped("       " + finding.words, width, 7))
    for kind, of in kinds.items():
        more = [finding.subject for finding in of[MOST_NOTES:] if finding.severity == "note"]
        if more:
            lines.append(_wrapped(f"note   {kind}, likewise: {', '.join(more)}", width, 7))
    return lines


def _stored(facts: Facts) -> dict[str, Value]:
    stored = facts.stored
    if stored is None:
        return {}
    return {
        "shape": "x".join(map(str, stored.shape)),
        "spacing_mm": "x".join(f"{mm:.4g}" for mm in stored.spacing),
        "orientation": stored.orientation,
        "sform_code": float(stored.codes[0]),
        "qform_code": float(stored.codes[1]),
        "data_type": stored.data_type,
        "lowest": stored.low,
        "highest": stored.high,
    }


def _measured(facts: Facts) -> dict[str, Value]:
    brain = facts.brain
    if brain is None:
        return {}
    fit = brain.alignment
    return {
        "brain_ml": brain.ml,
        "brain_mask": brain.source,
        "cut_cm2": brain.cut_cm2,
        "dice": None if fit is None else fit.dice,
        "correlation": None if fit is None else fit.correlation,
    }


def _passed_over(skipped: Sequence[Skipped]) -> list[str]:
    """A reason each, with the first file it holds for."""
    reasons: dict[str, list[Skipped]] = defaultdict(list)
    for each in skipped:
        reasons[each.reason].append(each)
    return [
        f"{of[0].path.name}{f' and {len(of) - 1} more' if len(of) > 1 else ''} ({reason})"
        for reason, of in reasons.items()
    ]


def _counted(values: Iterable[str]) -> str:
    """Such as ``PSR (24), RAS (1)``; of many different ones the first."""
    most = Counter(values).most_common()
    words = ", ".join(f"{value} ({count})" for value, count in most[:5])
    return words + (f" and {len(most) - 5} others" if len(most) > 5 else "")


def _in_mm(spacing: Iterable[float]) -> str:
    return " x ".join(f"{mm:.3g}" for mm in spacing) + " mm"


def _range(values: Sequence[float], style: str) -> str:
    low, middle, high = (f"{value:{style}}" for value in (min(values), _median(values), max(values)))
    return low if low == high else f"{low} to {high}, median {middle}"


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _many(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _wrapped(words: str, width: int, indent: int) -> str:
    return textwrap.fill(words, max(width, 40), subsequent_indent=" " * indent, break_on_hyphens=False)
