"""Variants: exact edits on a copy, and nothing outside it."""

from pathlib import Path

import pytest

from harness.cli import wiring
from harness.core.errors import UsageError
from harness.core.target import TargetSpec
from harness.stacks.variant import Edit, Variant, edits_of, load_variants, make_copy


@pytest.fixture
def spec(tmp_path: Path) -> TargetSpec:
    source = tmp_path / "target" / "shop"
    source.mkdir(parents=True)
    (source / "pay.py").write_text("pay(once)\nlog()\nlog()\n")
    return TargetSpec(
        name="shop", summary="x", interpreter="python3", source=("shop",), entries=(),
        folder=tmp_path / "target",
    )  # fmt: skip


def copy(spec: TargetSpec, tmp_path: Path, *edits: Edit) -> Path:
    destination = tmp_path / "copy"
    destination.mkdir()
    make_copy(spec, edits, destination)
    return destination / "shop" / "pay.py"


def test_the_copy_is_edited_and_the_original_is_not(spec: TargetSpec, tmp_path: Path) -> None:
    edited = copy(spec, tmp_path, Edit(file="shop/pay.py", anchor="once", replacement="twice"))
    assert edited.read_text().startswith("pay(twice)")
    assert (spec.folder / "shop" / "pay.py").read_text().startswith("pay(once)")


@pytest.mark.parametrize(
    ("file", "anchor", "told"),
    [
        ("shop/pay.py", "log()", "matches 2 times"),
        ("shop/pay.py", "refund", "matches 0 times"),
        ("shop/gone.py", "log()", "missing file"),
        ("../target/shop/pay.py", "once", "outside the target"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(
    spec: TargetSpec, tmp_path: Path, file: str, anchor: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        copy(spec, tmp_path, Edit(file=file, anchor=anchor, replacement="x"))
    assert (spec.folder / "shop" / "pay.py").read_text() == "pay(once)\nlog()\nlog()\n"


def test_included_variants_come_first_and_circles_are_refused() -> None:
    edit = Edit(file="a", anchor="b", replacement="c")
    inner = Variant(id="IN", summary="x", edits=(edit,))
    outer = Variant(id="OUT", summary="x", includes=("IN",), edits=(edit, edit))
    assert len(list(edits_of(outer, {"IN": inner, "OUT": outer}))) == 3
    circle = Variant(id="IN", summary="x", includes=("OUT",))
    with pytest.raises(UsageError, match="OUT → IN → OUT"):
        list(edits_of(outer, {"IN": circle, "OUT": outer}))


@pytest.mark.parametrize("name", sorted(load_variants(wiring.VARIANTS)))
def test_every_variant_fits_the_service_as_it_is(name: str) -> None:
    assert wiring.variant_edits(name, wiring.target_named("investment"))
