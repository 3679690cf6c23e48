"""Options: what each kind takes, and what is said of the rest."""

import pytest

from medapp.errors import OptionError
from medapp.options import Choice, Landmarks, Points, RenamedWarning, Slider, Text, Toggle


def test_voxels_are_read_from_text():
    option = Points("prompt", "Add")
    assert option.parse(option.default) == () == option.parse(" ; ")
    assert option.parse("1,2,3") == ((1, 2, 3),)
    assert option.parse(" 10, 0 ,5;7,8,9; ") == ((10, 0, 5), (7, 8, 9))


@pytest.mark.parametrize(
    "bad", ["1,2", "1,2,3,4", "a,b,c", "-1,2,3", "1.5,2,3", "1,2,3 4,5,6", "9999999,1,1", "1,1,1;" * 101]
)
def test_what_is_no_voxel_is_refused(bad):
    with pytest.raises(OptionError, match="prompt must be voxels"):
        Points("prompt", "Add").parse(bad)


def test_a_number_lies_in_its_range():
    option = Slider("threshold", "Threshold", 0.0, 1.0, 0.1, 0.5)
    assert option.parse("0.25") == 0.25 and option.parse(1) == 1.0
    for bad in ("1.5", "half", "nan"):
        with pytest.raises(OptionError, match="threshold"):
            option.parse(bad)


def test_a_former_word_of_a_choice_is_taken_with_a_warning():
    option = Choice("regions", "Regions", ("one", "two"), "one", former_values={"single": "one"})
    with pytest.warns(RenamedWarning, match="regions=single is now called regions=one"):
        assert option.parse("single") == "one"


def test_a_choice_knows_which_input_may_stand_in_for_it():
    option = Choice("regions", "Regions", ("one", "two"), "one", upload="region_map")
    assert option.parse("two") == "two" and option.upload == "region_map"
    with pytest.raises(OptionError, match="one of one, two"):
        option.parse("/etc/passwd")  # a path from elsewhere is never a word


def test_yes_and_no_in_words():
    option = Toggle("refine", "Refine", True)
    assert [option.parse(word) for word in (True, "true", "Yes", "0", False, " off ")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(OptionError, match="true or false"):
        option.parse("maybe")


def test_words_are_trimmed_checked_and_limited():
    def check(text: str) -> None:
        if "=" not in text:
            raise OptionError("no sign")

    assert Text("names", "Names", check=check).parse(" a = b ") == "a = b"
    with pytest.raises(OptionError, match="no sign"):
        Text("names", "Names", check=check).parse("a")
    with pytest.raises(OptionError, match="at most"):
        Text("names", "Names").parse("a" * 30_000)


def test_landmarks_are_read_from_lines():
    option = Landmarks("landmarks", "Landmarks")
    assert option.parse("") == ()
    pairs = option.parse("x,y,z,a,b,c\n1,2,3,4,5,6\n 1.5 -2 3e1\t4;5, 6 \n")
    assert pairs == ((1, 2, 3, 4, 5, 6), (1.5, -2, 30, 4, 5, 6)) == option.parse(pairs)


@pytest.mark.parametrize("bad", ["1,2,3", "1,2,3,4,5,nan", "1,2,3,4,5,6\nx,y,z,a,b,c", "1,2,3,4,5,6,7"])
def test_what_is_no_pair_of_landmarks_is_refused(bad):
    with pytest.raises(OptionError, match="six numbers a line"):
        Landmarks("landmarks", "Landmarks").parse(bad)
