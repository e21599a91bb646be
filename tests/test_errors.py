"""Names that somebody typed: what is offered in their place."""

from lrpilot.errors import MANY_NAMES, closest, unknown_name

NAMES = ("adamw_linear", "adamw", "adamw_constant", "cosine", "linear")


def test_what_a_name_is_the_beginning_of_comes_before_what_it_looks_like() -> None:
    assert closest("adam", NAMES) == ["adamw", "adamw_linear", "adamw_constant"]
    assert closest("cosin", NAMES) == ["cosine"]
    assert closest("lineer", NAMES) == ["linear"]
    assert closest("xyzzy", NAMES) == closest("", NAMES) == []
    assert len(closest("a", [f"a{i}" for i in range(9)])) == 4


def test_a_few_names_are_listed() -> None:
    said = str(unknown_name("A fruit", "aple", ("pear", "apple"), listing="fruit list"))
    assert said == "A fruit must be one of apple, pear, got 'aple'. Did you mean 'apple'?"
    assert str(unknown_name("A fruit", 3, ("pear",))) == "A fruit must be one of pear, got 3. Choose one of these."


def test_of_many_names_the_closest_are_named_and_the_command_that_lists_all() -> None:
    many = [f"fruit{i}" for i in range(MANY_NAMES + 1)]
    said = str(unknown_name("A fruit", "fruit1", many[2:] + ["kiwi"] * 2, listing="fruit list"))
    assert said.startswith(
        "A fruit must be one of the 21 that 'fruit list' shows, got 'fruit1'. Did you mean 'fruit10' or "
    )
    assert str(unknown_name("A fruit", "", many, listing="fruit list")).endswith("got ''. Choose one of those.")
    assert "fruit7, " in str(unknown_name("A fruit", "x", many))
