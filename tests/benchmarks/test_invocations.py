"""The list of bad invocations is of commands that there are."""

from benchmarks import invocations


def test_bad_invocations_are_of_commands_that_there_are():
    commands = invocations.commands()
    assert len(commands) > 30
    assert {words.split()[0] for words in invocations.BAD} | set(invocations.NEEDS) <= set(commands)
    assert len(commands) + len(invocations.BAD) >= 40
