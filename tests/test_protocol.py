"""The settings that the book's Protocol prints are those of the code."""

import doctest
from pathlib import Path


def test_every_setting_of_the_protocol_is_the_recipes_own() -> None:
    page = Path(__file__).parent.parent / "book" / "protocol.md"
    outcome = doctest.testfile(str(page), module_relative=False)
    assert outcome.attempted >= 10
    assert outcome.failed == 0
