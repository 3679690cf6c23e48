"""Options: what is taken, and what is said of the rest."""

import pytest

from medapp.card import Choice, Points
from medapp.errors import OptionError


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


def test_a_choice_knows_which_input_may_stand_in_for_it():
    option = Choice("regions", "Regions", ("one", "two"), "one", upload="region_map")
    assert option.parse("two") == "two" and option.upload == "region_map"
    with pytest.raises(OptionError, match="one of one, two"):
        option.parse("/etc/passwd")  # a path from elsewhere is never a word
