"""The two commands install what they need."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_all_lists_of_requirements_are_installed_for_the_tests():
    command = next(line for line in (ROOT / "test.sh").read_text().splitlines() if "setup.sh" in line)
    assert sorted(command.split()[2:]) == sorted(file.name for file in ROOT.glob("requirements*.txt"))
