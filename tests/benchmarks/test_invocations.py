"""The bad invocations are of every command."""

from benchmarks import invocations


def test_bad_invocations_are_of_every_command():
    commands = invocations.commands()
    assert len(commands) > 40 and {"analysis.all", "pipelines.echoing.advice", "benchmarks.kills"} <= set(commands)
    assert {words.split()[0] for words in invocations.invocations()} == set(commands)
    assert {words.split()[0] for words in invocations.BAD} | set(invocations.NEEDS) <= set(commands)


def test_what_they_name_is_there(tmp_path):
    made = invocations.places(tmp_path)
    assert all("{" not in words.format(**made) for words in invocations.invocations())
    assert len(set(invocations.BAD)) == len(invocations.BAD) >= 40
