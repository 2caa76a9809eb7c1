"""Questions about holes are asked once until answered."""

from messaging.protocol.client.holes import Holes


def test_a_question_is_asked_once_and_again_after_its_answer() -> None:
    """Until what was seen beyond the hole is reached."""
    holes = Holes()
    holes.beyond("c1", 9)
    assert holes.question("c1", 4) == 1
    assert holes.question("c1", 4) is None
    holes.answered("c1", "not ours")
    assert holes.question("c1", 5) is None
    holes.answered("c1", 1)
    assert holes.question("c1", 6) == 2
    holes.answered("c1", 2)
    assert holes.question("c1", 9) is None
    assert not holes


def test_a_conversation_that_was_left_has_no_holes() -> None:
    """Its late answer means nothing."""
    holes = Holes()
    holes.beyond("c1", 9)
    ref = holes.question("c1", 4)
    assert holes.refused(ref, again=50)
    assert holes.due(49) == []
    holes.drop("c1")
    assert holes.deadline is None
    assert holes.due(50) == []
    assert not holes.refused(ref, again=None)


def test_a_question_refused_for_a_while_is_asked_again_when_its_time_comes() -> None:
    """And not before."""
    holes = Holes()
    holes.beyond("c1", 9)
    assert holes.refused(holes.question("c1", 4), again=50)
    assert holes.question("c1", 4) is None
    assert holes.deadline == 50
    assert holes.due(50) == ["c1"]
    assert holes.question("c1", 4) == 2


def test_a_question_refused_for_good_is_not_asked_again() -> None:
    """Until something more is seen beyond the hole."""
    holes = Holes()
    holes.beyond("c1", 9)
    assert holes.refused(holes.question("c1", 4), again=None)
    assert not holes
    assert holes.question("c1", 4) is None
    holes.beyond("c1", 10)
    assert holes.question("c1", 4) == 2
